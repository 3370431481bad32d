service Echo {
  binary echo(1: binary payload)
}

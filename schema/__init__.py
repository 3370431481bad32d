"""What is made from the schema of the agent's methods: their digest, the reference, and the table beside qemu-ga."""

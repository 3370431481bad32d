@0xd1c5f2ab8e6a4703;

interface Echo {
  echo @0 (payload :Data) -> (payload :Data);
  write @1 (chunk :Data) -> stream;
  written @2 () -> (total :UInt64);
}

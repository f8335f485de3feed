module example.com/wazero

go 1.25

require github.com/tetratelabs/wazero v1.9.0

module allgo

go 1.24

require github.com/enclaveos/eos/sdk/go v0.0.0

replace github.com/enclaveos/eos/sdk/go => ../../../../sdk/go

module github.com/enclaveos/eos/sdk/go

go 1.24

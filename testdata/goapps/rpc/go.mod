module example.com/rpc

go 1.26.0

require github.com/enclaveos/eos v0.0.0

replace github.com/enclaveos/eos => ../../..

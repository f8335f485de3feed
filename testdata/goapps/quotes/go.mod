module example.com/quotes

go 1.26.0

require github.com/enclaveos/eos v0.0.0

replace github.com/enclaveos/eos => ../../..

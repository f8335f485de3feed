module example.org/inside

go 1.26

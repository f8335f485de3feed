module workgo

go 1.24

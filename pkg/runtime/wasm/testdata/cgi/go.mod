module cgi

go 1.26.0

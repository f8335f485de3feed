module acts

go 1.26

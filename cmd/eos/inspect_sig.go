package main

import (
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

func inspectSigStruct(u *ui, path string, in io.Reader, asJSON bool) error {
	s, err := readSigStruct(path, in)
	if err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, in); err != nil {
		return err
	} else if n > 0 {
		u.warn("%s: %d bytes after the SIGSTRUCT are ignored", path, n)
	}
	d := sign.Describe(s)
	if asJSON {
		return u.json(struct {
			Kind string `json:"kind"`
			sign.Description
		}{"sigstruct", d})
	}
	u.printf("%s: SIGSTRUCT\n", path)
	return printSigStruct(u, s)
}

func printSigStruct(u *ui, s *sgx.SigStruct) error {
	w := u.table()
	for _, f := range sign.Describe(s).Fields() {
		if f.Note != "" {
			f.Value += "  (" + f.Note + ")"
		}
		fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Value)
	}
	return w.Flush()
}

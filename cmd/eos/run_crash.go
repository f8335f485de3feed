package main

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
)

// crashNames is the stderr of a Go program, with the names of functions beside the
// addresses that a production image reports of a crash. The names are those of the
// image, which the host has: they are no secret of the program's.
type crashNames struct {
	w    io.Writer
	name func(addr uint64) string
}

const crashPrefix = "eos: at 0x"

// crashLine is a line of such a report. The kernel writes each at once.
var crashLine = regexp.MustCompile(`(?m)^` + crashPrefix + `([0-9a-f]{1,16})$`)

func (c *crashNames) Write(p []byte) (int, error) {
	text := p
	if bytes.Contains(p, []byte(crashPrefix)) {
		text = crashLine.ReplaceAllFunc(p, func(line []byte) []byte {
			addr, err := strconv.ParseUint(string(line[len(crashPrefix):]), 16, 64)
			name := c.name(addr)
			if err != nil || name == "" {
				return line
			}
			return append(append(bytes.Clone(line), ' '), name...)
		})
	}
	if n, err := c.w.Write(text); err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}

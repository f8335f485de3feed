// Package edptool speaks the command lines of the Fortanix EDP tools: same
// arguments, same output bytes, same messages and exit codes, so that eos drops
// into existing EDP builds under their names. Where an original crashes or
// silently corrupts, there is a clean error instead.
package edptool

import (
	"io"
	"maps"
	"slices"
)

// tool is one program: its arguments, without the name, to an exit code.
type tool func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

// tools has one row for each name that eos answers to.
var tools = map[string]tool{
	"sgxs-append":         sgxsAppend,
	"sgxs-build":          sgxsBuild,
	"sgxs-info":           sgxsInfo,
	"ftxsgx-elf2sgxs":     elf2sgxs,
	"ftxsgx-runner-cargo": runnerCargo,
	"sgxs-sign":           sgxsSign,
	"ftxsgx-runner":       runEnclave,
}

// Names returns the names of the tools, sorted.
func Names() []string { return slices.Sorted(maps.Keys(tools)) }

// Has reports whether name is one of Names.
func Has(name string) bool { return tools[name] != nil }

// Run runs the tool of that name, which must be one of Names, and returns its
// exit code.
func Run(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return tools[name](args, stdin, stdout, stderr)
}

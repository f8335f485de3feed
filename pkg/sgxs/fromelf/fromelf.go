// Package fromelf turns an ELF of the target x86_64-fortanix-unknown-sgx into
// an SGXS image, byte for byte as ftxsgx-elf2sgxs does.
//
// The work is done in the order in which that tool does it, so that an ELF with
// several faults gets the same message from both:
//
//	load     ELF header, class
//	check    toolchain note, dynamic symbols, PT_DYNAMIC, relocations, sections
//	plan     segments with their splices, heap, threads
//	write    header, segments, heap, threads
//
// Everything is checked before the first byte is written. Contents are streamed:
// memory does not grow with the ELF, the heap or the number of threads.
//
// A splice is a value that the packer stores into the program: the layout, at
// the addresses of the symbols HEAP_BASE, HEAP_SIZE and so on.
//
// Where the Fortanix tool crashes (a table outside of the file, a splice in
// .bss) or silently leaves a splice out (a symbol outside of every segment),
// there is an error here. Sums that overflow are errors too.
package fromelf

import (
	"fmt"
	"io"
)

// Options of a conversion. Sizes are in bytes and must be multiples of the page
// size unless noted; nothing is rounded.
type Options struct {
	HeapSize     uint64
	StackSize    uint64 // of each thread
	Threads      uint32 // may be 0: an image without TCS
	SSAFrameSize uint32 // pages of an SSA frame; may be 0
	Debug        bool   // sets the program's DEBUG byte, no attribute
	Library      bool   // no thread is marked as secondary
	Unsized      bool   // UNSIZED header: the size is left to an append
	Measure      bool   // also compute MRENCLAVE; of sized images only
}

// Error tells why an ELF is not convertible.
type Error struct {
	Msg  string // what, where: one line; the Fortanix tool's text where it has one
	Hint string // what to do; may be empty
}

func (e *Error) Error() string { return e.Msg }

func refuse(hint, format string, args ...any) *Error {
	return &Error{Msg: fmt.Sprintf(format, args...), Hint: hint}
}

const (
	hintTarget    = "build the program for the target x86_64-fortanix-unknown-sgx"
	hintDamaged   = "the ELF file is damaged or cut short; build it again"
	hintStatic    = "link statically, position independent, with only R_X86_64_RELATIVE relocations"
	hintLayout    = "check the linker script: segments must ascend and not share a page"
	hintTooBig    = "use smaller sizes or fewer threads"
	hintAligned   = "make the heap and stack sizes multiples of 4096"
	hintSymbolROM = "keep the symbol in initialised data of a loaded segment, such as .rodata"
)

// Convert writes the image of the ELF of that size to w. An ELF or an option
// that is refused gives an *Error, before anything is written; other errors are
// those of elf and w.
func Convert(w io.Writer, elf io.ReaderAt, size int64, o Options) (*Layout, error) {
	l, err := plan(elf, size, o)
	if err != nil {
		return nil, err
	}
	if err := l.write(w, elf); err != nil {
		return nil, err
	}
	return l, nil
}

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/spf13/cobra"
)

// inspectFlags are the flags of inspect; they all are for images.
type inspectFlags struct {
	json                 bool
	records, pages, dump bool
	output               string
	elf                  string
	symbolize            []string
}

func inspectCmd(u *ui) *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect [--json] [--records|--pages|--dump [-o FILE]] [--elf APP.elf] [--symbolize ADDR] FILE",
		Short: "say what is in an image, a SIGSTRUCT, a key, an ELF file or a WASM module",
		Long: `Say what is in a file: an enclave image (SGXS), a SIGSTRUCT, a key in PEM, an ELF
program or a WASM module. Of a private key only what is public is printed.

Of an image: sizes, MRENCLAVE, regions and threads. --records and --pages list
them one by one. --dump writes the enclave's initial memory, holes as zeros.
--elf names the biggest symbols of the program that the image was built from.

Of an image with WASM apps also the apps: hashes, functions, and everything that
the manifest grants.

Of the image of a Go program also the Go version, its modules, its environment
and its biggest functions. --symbolize says what is at an address of its code;
with - it reads text, such as what a crash has printed, and names the addresses.`,
		Args: positional(1, "FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return inspect(u, args[0], f) },
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"sgxs", "sig", "pem", "key", "elf", "wasm"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	jsonFlag(cmd, &f.json)
	fl := cmd.Flags()
	fl.BoolVar(&f.records, "records", false, "list every record of the image")
	fl.BoolVar(&f.pages, "pages", false, "list every page of the image")
	fl.BoolVar(&f.dump, "dump", false, "write the initial memory to stdout or to -o FILE")
	fl.StringVarP(&f.output, "output", "o", "", "`FILE` for --dump")
	fl.StringVar(&f.elf, "elf", "", "the ELF program of the image, `APP.elf`, for its symbols")
	fl.StringArrayVar(&f.symbolize, "symbolize", nil, "Go: the function and line at an address, repeated or - for text from stdin")
	completeFlagFiles(cmd, "elf", "elf")
	return cmd
}

func inspect(u *ui, path string, f inspectFlags) error {
	listings := 0
	for _, on := range []bool{f.records, f.pages, f.dump, f.elf != "", f.symbolize != nil} {
		if on {
			listings++
		}
	}
	switch {
	case listings > 1:
		return usagef("only one of --records, --pages, --dump, --elf and --symbolize at a time")
	case f.output != "" && !f.dump:
		return withHint(usagef("-o is for --dump"), "redirect the output instead")
	case f.dump && f.json:
		return usagef("--dump writes memory, not JSON")
	case f.symbolize != nil && f.json:
		return usagef("--symbolize writes lines, not JSON")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<16)
	head, err := in.Peek(16)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	kind := kindOf(head)
	if kind != kindImage && listings > 0 {
		return fmt.Errorf("%s is %s: --records, --pages, --dump, --elf and --symbolize are for images", path, kind)
	}
	switch kind {
	case kindImage:
		return inspectImage(u, path, in, f)
	case kindSigStruct:
		return inspectSigStruct(u, path, in, f.json)
	case kindPEM:
		return inspectKey(u, path, in, f.json)
	case kindELF:
		return inspectELF(u, path, f.json)
	case kindWASM:
		return inspectModule(u, path, f.json)
	}
	if len(head) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	return withHint(fmt.Errorf("%s is neither an image, a SIGSTRUCT, a key in PEM, an ELF file nor a WASM module: it begins with %q", path, head[:min(8, len(head))]),
		"an image begins with ECREATE or UNSIZED; eos build makes one")
}

// fileKind is what a file seems to be, in words.
type fileKind string

const (
	kindImage     fileKind = "an enclave image"
	kindSigStruct fileKind = "a SIGSTRUCT"
	kindPEM       fileKind = "a key"
	kindELF       fileKind = "an ELF file"
	kindWASM      fileKind = "a WASM module"
	kindUnknown   fileKind = "something unknown"
)

// kindOf looks at the first 16 bytes.
func kindOf(head []byte) fileKind {
	switch {
	case bytes.HasPrefix(head, []byte("ECREATE\x00")), bytes.HasPrefix(head, []byte("UNSIZED\x00")):
		return kindImage
	case bytes.HasPrefix(head, []byte("\x06\x00\x00\x00\xe1\x00\x00\x00")):
		return kindSigStruct
	case bytes.HasPrefix(head, []byte("-----BEGIN ")):
		return kindPEM
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return kindELF
	case bytes.HasPrefix(head, []byte("\x00asm")), bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return kindWASM // plain or zstd
	}
	return kindUnknown
}

// readSigStruct reads the SIGSTRUCT at the beginning of r. Bytes after it are
// allowed, as the EDP tools allow them.
func readSigStruct(path string, r io.Reader) (*sgx.SigStruct, error) {
	b := make([]byte, sgx.SigStructSize)
	if n, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%s is not a SIGSTRUCT: it has %d bytes instead of %d", path, n, sgx.SigStructSize)
		}
		return nil, err
	}
	s, err := sgx.ParseSigStruct(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func loadSigStruct(path string) (*sgx.SigStruct, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSigStruct(path, f)
}

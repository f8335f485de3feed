// Command link builds the program of cmd/eos-enclave and packs it to the file that
// package base embeds. make build runs it, at the root of the repository.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/enclaveos/eos/cmd/eos/base"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/klauspost/compress/zstd"
)

const output = "cmd/eos/base/program/eos-enclave.zst"

func main() {
	if err := link(); err != nil {
		fmt.Fprintln(os.Stderr, "link:", err)
		os.Exit(1)
	}
}

func link() error {
	// With a code area the program gets what a compiler in it needs; the other sizes
	// do not change the program.
	b, err := fromgo.Prepare(context.Background(), fromgo.Options{
		Package: base.Package, HeapSize: base.DefaultHeapSize, CodeSize: base.DefaultCodeSize, Threads: base.DefaultThreads,
	})
	if err != nil {
		return err
	}
	defer b.Close()
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := b.WriteTo(z); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	// The same file again would only make the go command build eos again.
	if old, err := os.ReadFile(output); err == nil && bytes.Equal(old, packed.Bytes()) {
		return nil
	}
	return os.WriteFile(output, packed.Bytes(), 0o644)
}

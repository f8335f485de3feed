// Quotes asks the machine's quoting enclave for a quote with its argument as report
// data, and writes it to stdout; with -collateral, what goes with it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/enclaveos/eos/pkg/runtime/quoting"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

func main() {
	if err := act(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func act(what string) error {
	host, err := rpc.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	q := quoting.New(host)
	var b []byte
	if what == "-collateral" {
		b, err = q.Collateral(context.Background())
	} else {
		var data [64]byte
		copy(data[:], what)
		b, err = q.Quote(context.Background(), data)
	}
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}

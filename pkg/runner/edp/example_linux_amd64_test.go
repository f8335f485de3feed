package edp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
)

// This is all that eos run does.
func Example() {
	dir, err := os.MkdirTemp("", "device") // where the keys of this processor are kept
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	device, err := microcode.OpenDevice(dir)
	if err != nil {
		panic(err)
	}
	var p platform.Platform
	if p, err = softsgx.New(softsgx.Options{Device: device}); err != nil {
		panic(err)
	}
	path := imagePath("hello") // app.sgxs
	defer os.RemoveAll(filepath.Dir(path))
	sig, _, err := runner.Signature{}.Resolve(path, p.Caps())
	if err != nil {
		panic(err)
	}
	image, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer image.Close()
	enclave, err := runner.Load(p, image, sig, runner.LoadOptions{})
	if err != nil {
		panic(err)
	}
	defer enclave.Close()

	cmd, err := edp.NewCommand(enclave, edp.Options{Args: []string{"one"}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		panic(err)
	}
	if err := cmd.Run(context.Background()); err != nil {
		fmt.Println(err, edp.Explain(err))
	}
	// Output:
	// hello from the enclave
	// argv[0] = enclave
	// argv[1] = one
}

// Streams are in memory, as in a test.
func ExampleNewCommand() {
	enclave := open("cat")
	defer enclave.Close()
	var out bytes.Buffer
	cmd, err := edp.NewCommand(enclave, edp.Options{Stdin: strings.NewReader("meow"), Stdout: &out})
	if err != nil {
		panic(err)
	}
	fmt.Println(cmd.Run(context.Background()))
	fmt.Println(out.String())
	// Output:
	// <nil>
	// meow
}

// The enclave connects to what the host gives it.
func ExampleOptions_connect() {
	enclave := open("tcp_client")
	defer enclave.Close()
	cmd, err := edp.NewCommand(enclave, edp.Options{
		Args:   []string{"echo service", "hello"},
		Stdout: os.Stdout,
		Connect: func(_ context.Context, addr string) (net.Conn, error) {
			if addr != "echo service" {
				return nil, edp.ResultConnectionRefused
			}
			here, there := net.Pipe()
			go func() {
				line, err := bufio.NewReader(there).ReadBytes('\n')
				if err == nil {
					_, _ = there.Write(bytes.ToUpper(line)) // the enclave may have gone
				}
			}()
			return here, nil
		},
	})
	if err != nil {
		panic(err)
	}
	if err := cmd.Run(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	// connected to pipe
	// HELLO
	// done
}

// A number of the application's own.
func ExampleUserCall() {
	enclave := open("exits")
	defer enclave.Close()
	cmd, err := edp.NewCommand(enclave, edp.Options{
		Args:   []string{"user-defined"},
		Stdout: os.Stdout,
		UserCalls: map[edp.Number]edp.UserCall{
			edp.UserDefined | 1: func(c *edp.UserCallContext) (r1, r2 uint64, err error) {
				return c.Args[0] + c.Args[1], c.Args[2] * c.Args[3], nil
			},
		},
	})
	if err != nil {
		panic(err)
	}
	if err := cmd.Run(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	// user-defined gave 0x3, 0xc
}

func ExamplePanicError() {
	enclave := open("exits")
	defer enclave.Close()
	cmd, err := edp.NewCommand(enclave, edp.Options{Args: []string{"text"}})
	if err != nil {
		panic(err)
	}
	err = cmd.Run(context.Background())
	var p *edp.PanicError
	if errors.As(err, &p) {
		fmt.Println(p.Text)
	}
	// Output:
	// so it ends, at 7
}

func ExampleLibrary_Call() {
	enclave := open("library")
	defer enclave.Close()
	lib, err := edp.NewLibrary(enclave, edp.Options{})
	if err != nil {
		panic(err)
	}
	defer lib.Close()
	const add = 0
	sum, calls, err := lib.Call(context.Background(), add, 1, 2, 3, 4)
	fmt.Println(sum, calls, err)
	// Output:
	// 10 1 <nil>
}

// Rpc makes requests to its host: its first argument says which.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

// The methods that the test's host has.
const (
	echo    wire.Method = 0x7001 // quick
	slow    wire.Method = 0x7002 // echo after some ms
	refuse  wire.Method = 0x7003
	never   wire.Method = 0x7004 // no answer before the end
	missing wire.Method = 0x7005
)

func main() {
	c, err := rpc.Open()
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	acts := map[string]func(*rpc.Client){"all": all, "load": load, "bench": bench, "stdin": stdin, "call": call}
	acts[os.Args[1]](c)
}

func check(what string, ok bool, v ...any) {
	if !ok {
		fmt.Println("WRONG:", what, fmt.Sprint(v...))
		os.Exit(1)
	}
}

func number(i int) int {
	n, err := strconv.Atoi(os.Args[i])
	check("argument", err == nil, err)
	return n
}

func all(c *rpc.Client) {
	ctx := context.Background()
	_, err := rpc.Open()
	check("a second Open", err != nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), wire.MaxPayload/16)
	for _, m := range []wire.Method{echo, slow, echo, echo} {
		for _, b := range [][]byte{nil, []byte("x"), big[:16<<10], big[:64<<10], big} {
			got, err := c.Call(ctx, m, b)
			check("echo", err == nil && bytes.Equal(got, b), len(b), len(got), err)
		}
	}
	_, err = c.Call(ctx, echo, append(big, 0))
	var size *rpc.SizeError
	check("too large", errors.As(err, &size), err)
	var status *rpc.StatusError
	got, err := c.Call(ctx, refuse, []byte("why"))
	check("refused", got == nil && errors.As(err, &status) && status.Status == 42 && string(status.Payload) == "why", err)
	_, err = c.Call(ctx, missing, nil)
	check("missing", errors.As(err, &status) && status.Status == wire.StatusUnsupported, err)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	_, err = c.Call(short, never, nil)
	check("never", errors.Is(err, context.DeadlineExceeded), err)
	cancel()
	_, err = c.Call(short, echo, nil)
	check("canceled", errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded), err)
	go func() { time.Sleep(10 * time.Millisecond); c.Close() }()
	_, err = c.Call(ctx, never, nil)
	check("closed", errors.Is(err, rpc.ErrClosed), err)
	fmt.Println("all is well")
}

// load makes calls from many goroutines.
func load(c *rpc.Client) {
	workers, calls := number(2), number(3)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			b := make([]byte, 100<<10)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			for range calls {
				n, m := r.IntN(1<<r.IntN(17)), echo
				if r.IntN(50) == 0 {
					m = slow
				}
				got, err := c.Call(context.Background(), m, b[:n])
				check("echo", err == nil && bytes.Equal(got, b[:n]), n, len(got), err)
			}
		})
	}
	all.Wait()
	fmt.Println("all is well")
}

// bench makes calls of so many bytes from so many goroutines for a second.
func bench(c *rpc.Client) {
	workers, size := number(2), number(3)
	var all sync.WaitGroup
	var mu sync.Mutex
	total := 0
	b := make([]byte, size)
	for range 100 {
		c.Call(context.Background(), echo, b)
	}
	start := time.Now()
	for range workers {
		all.Go(func() {
			n := 0
			for ; time.Since(start) < time.Second; n++ {
				_, err := c.Call(context.Background(), echo, b)
				check("echo", err == nil, err)
			}
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	all.Wait()
	d := time.Since(start)
	fmt.Printf("%d workers, %d bytes: %.0f calls/s, %.2f µs a call\n", workers, size, float64(total)/d.Seconds(), d.Seconds()*1e6*float64(workers)/float64(total))
}

// stdin reads lines while calls are made.
func stdin(c *rpc.Client) {
	end := make(chan bool)
	go func() {
		for {
			select {
			case <-end:
				return
			default:
				b := []byte(strconv.Itoa(rand.Int()))
				got, err := c.Call(context.Background(), echo, b)
				check("echo", err == nil && bytes.Equal(got, b), err)
			}
		}
	}()
	n := 0
	for s := bufio.NewScanner(os.Stdin); s.Scan(); n++ {
	}
	close(end)
	fmt.Println(n, "lines")
}

// call makes one call and tells its error.
func call(c *rpc.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	for range 3 {
		got, err := c.Call(ctx, echo, []byte("hello"))
		fmt.Printf("%q %v\n", got, err)
	}
}

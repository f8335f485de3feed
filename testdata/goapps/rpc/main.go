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
	"strings"
	"sync"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
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
	if os.Args[1] == "doorbell" {
		doorbell()
		return
	}
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
// doorbell uses the channel below package rpc: a batch with one ring, and responses
// that are waited for.
func doorbell() {
	c, err := enclave.OpenChannel()
	check("open", err == nil, err)
	_, err = enclave.OpenChannel()
	check("a second open", err != nil)
	ctx := context.Background()
	var batch []byte
	request := func(b []byte, i int, m wire.Method, payload string) []byte {
		return wire.AppendRequest(b, wire.Request{ID: uint64(i)<<8 | wire.IDProgram, Method: m, Payload: []byte(payload)})
	}
	const n = wire.MaxInFlight
	for i := range n {
		batch = request(batch, i, echo, strconv.Itoa(i))
	}
	check("ring", c.Ring(batch) == nil)
	check("one too many", errors.Is(c.Ring(request(nil, n, echo, "")), enclave.ErrInFlight))
	seen := make([]bool, n)
	buf := make([]byte, 64)
	for range n {
		b, err := c.Wait(ctx, buf)
		check("wait", err == nil, err)
		r, f := wire.ParseResponse(b)
		i := int(r.ID >> 8)
		check("response", f == wire.Sound && !seen[i] && string(r.Payload) == strconv.Itoa(i), f, r)
		seen[i] = true
	}
	// Nothing more comes, and that ends with the context: of two, each by its own.
	short, cancel := context.WithTimeoutCause(ctx, 10*time.Millisecond, errors.New("enough"))
	defer cancel()
	late := make(chan error)
	go func() {
		later, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		defer cancel()
		_, err := c.Wait(later, buf)
		late <- err
	}()
	_, err = c.Wait(short, buf)
	check("short", err != nil && err.Error() == "enough", err)
	err = <-late
	check("later", errors.Is(err, context.DeadlineExceeded), err)
	// After that it waits again, and what is larger than the buffer comes whole.
	check("ring", c.Ring(request(nil, 1, slow, strings.Repeat("x", 1000))) == nil)
	b, err := c.Wait(ctx, buf)
	check("large", err == nil && len(b) == wire.ResponseSize+1000, err, len(b))
	// More than the ring has room for goes in parts.
	batch = batch[:0]
	for i := range 8 {
		batch = request(batch, i, echo, strings.Repeat("y", wire.MaxPayload))
	}
	rung := make(chan error)
	go func() { rung <- c.Ring(batch) }()
	for range 8 {
		b, err := c.Wait(ctx, nil)
		check("huge", err == nil && len(b) == wire.ResponseSize+wire.MaxPayload, err, len(b))
	}
	check("rung", <-rung == nil)
	// At once, or not at all.
	_, err = c.Exchange(batch, buf)
	check("too large to exchange", err != nil && !errors.Is(err, enclave.ErrChannelEnded), err)
	// Nothing but requests.
	var bad *enclave.RequestError
	err = c.Ring(append(request(nil, 1, echo, "z"), 1, 2, 3))
	check("a batch that ends early", errors.As(err, &bad) && bad.Offset == 15, err)
	go func() { time.Sleep(10 * time.Millisecond); c.Close() }()
	_, err = c.Wait(ctx, buf)
	check("closed", errors.Is(err, os.ErrClosed), err)
	check("ring after close", errors.Is(c.Ring(request(nil, 1, echo, "")), os.ErrClosed))
	fmt.Println("all is well")
}

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

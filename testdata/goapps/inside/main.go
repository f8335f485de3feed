// Inside does what is asked of the kernel: its first argument says what.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var acts = map[string]func(args []string){
	"world":   world,
	"stdin":   stdin,
	"stress":  stress,
	"preempt": preempt,
	"threads": threads,
	"blocked": blocked,
	"pipes":   pipes,
	"timers":  timers,
	"recover": recovers,
	"panic":   func([]string) { panic("as asked") },
	"nil":     func([]string) { fmt.Println(*pointer) },
	"stack":   func([]string) { fmt.Println(deep(1)) },
	"exit":    func(a []string) { n, _ := strconv.Atoi(a[0]); os.Exit(n) },
	"memory":  func([]string) { memory() },
	"lock":    func([]string) { select {} },
	"print":   func([]string) { println("printed", 1); panic("as asked") },
	"sleep":   func([]string) { fmt.Println("sleeping"); time.Sleep(time.Hour) },
	"poll":    func([]string) { r, _, _ := os.Pipe(); r.Read(make([]byte, 1)) },
	"term":    term,
	"abort":   func([]string) { syscall.Kill(os.Getpid(), syscall.SIGABRT); time.Sleep(time.Hour) },
	"sum":     func(a []string) { n, _ := strconv.Atoi(a[0]); fmt.Println(sum(n)) },
}

func main() {
	act := acts[os.Args[1]]
	if act == nil {
		fmt.Println("no such act")
		os.Exit(64)
	}
	act(os.Args[2:])
}

func check(what string, ok bool, v ...any) {
	if !ok {
		fmt.Println("WRONG:", what, fmt.Sprint(v...))
		os.Exit(1)
	}
}

func world(args []string) {
	fmt.Printf("%q %q\n", args, os.Environ())
	_, err := os.Open("/etc/passwd")
	check("a host file", errors.Is(err, fs.ErrNotExist), err)
	_, err = os.ReadDir("/")
	check("a directory", err != nil)
	_, err = os.Create("/tmp/x")
	check("a new file", err != nil)
	b, err := os.ReadFile("/etc/resolv.conf")
	check("resolv.conf", err == nil && strings.Contains(string(b), "nameserver"), err)
	b = make([]byte, 64)
	f, err := os.Open("/dev/urandom")
	check("urandom", err == nil, err)
	n, err := f.Read(b)
	check("urandom", n == 64 && err == nil && !bytes.Equal(b[:32], b[32:]), err)
	check("close", f.Close() == nil && f.Close() != nil)
	c := make([]byte, 64)
	rand.Read(c)
	check("random numbers", !bytes.Equal(b, c) && !bytes.Equal(c, make([]byte, 64)))
	check("processors", runtime.NumCPU() >= 1 && runtime.GOMAXPROCS(0) <= 8, runtime.NumCPU())
	check("year", time.Now().Year() > 2024, time.Now())
	last := time.Now()
	for range 100000 {
		t := time.Now()
		check("time goes back", t.Sub(last) >= 0, t, last)
		last = t
	}
	r, _, e := syscall.RawSyscall(9000, 0, 0, 0)
	check("in an enclave", r == 1 && e == 0, r, e)
	_, _, e = syscall.RawSyscall(9999, 0, 0, 0)
	check("unknown call", e == syscall.ENOSYS, e)
	w := bufio.NewWriterSize(os.Stdout, 200_000)
	fmt.Fprintln(w, strings.Repeat("x", 150_000))
	w.Flush()
	fmt.Fprintln(os.Stderr, "to stderr")
}

func stdin([]string) {
	h := sha256.New()
	n := 0
	b := make([]byte, 100_000)
	for {
		k, err := os.Stdin.Read(b)
		h.Write(b[:k])
		n += k
		if err != nil {
			break
		}
	}
	fmt.Printf("%d %x\n", n, h.Sum(nil))
}

var pointer *int

//go:noinline
func deref(p *int) int { return *p }

//go:noinline
func div(a, b int) int { return a / b }

func recovers([]string) {
	try := func(f func()) (s string) {
		defer func() { s = fmt.Sprint(recover()) }()
		f()
		return ""
	}
	for range 1000 {
		check("nil", strings.Contains(try(func() { deref(pointer) }), "nil pointer"))
		check("zero", strings.Contains(try(func() { div(1, len(os.Args)-2) }), "divide by zero"), len(os.Args))
		check("index", strings.Contains(try(func() { _ = os.Args[len(os.Args)] }), "out of range"))
	}
	fmt.Println("recovered")
}

func deep(n int) int {
	var a [64]int
	a[n%64] = n
	return deep(n+1) + a[(n+1)%64]
}

func memory() {
	var keep [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		keep = append(keep, b)
	}
}

func term([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("waiting")
	fmt.Println(<-c)
	os.Exit(5)
}

//go:noinline
func sum(n int) (s int) {
	for i := range n {
		s += i
	}
	return s
}

// preempt has loops without calls on all processors while the world has to be
// stopped again and again.
func preempt([]string) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + 1 {
		wg.Go(func() {
			for !stop.Load() {
				sum(50_000_000)
			}
		})
	}
	for range 30 {
		runtime.GC()
	}
	stop.Store(true)
	wg.Wait()
	fmt.Println("collected")
}

// threads makes and ends more threads than there are, a few at a time.
func threads(args []string) {
	n, _ := strconv.Atoi(args[0])
	for range 20 {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				done := make(chan bool)
				go func() {
					runtime.LockOSThread() // never unlocked: the thread ends
					time.Sleep(time.Millisecond)
					close(done)
				}()
				<-done
			})
		}
		wg.Wait()
	}
	fmt.Println("ended")
}

// blocked has many more goroutines in system calls than there can be threads, and
// others that have to get on meanwhile.
func blocked(args []string) {
	n, _ := strconv.Atoi(args[0])
	var wg sync.WaitGroup
	var ticks atomic.Int64
	for i := range n {
		wg.Go(func() {
			for range 3 {
				ts := syscall.NsecToTimespec(int64(20+i%10) * 1e6)
				check("nanosleep", syscall.Nanosleep(&ts, nil) == nil)
				runtime.Gosched()
			}
		})
		wg.Go(func() {
			for range 3 {
				time.Sleep(3 * time.Millisecond)
				sum(100_000)
				ticks.Add(1)
			}
		})
		if i%10 == 0 {
			runtime.GC()
		}
	}
	wg.Wait()
	check("ticks", ticks.Load() == int64(3*n), ticks.Load())
	fmt.Println("done")
}

// pipes sends a megabyte through, and closes both ends in both orders.
func pipes([]string) {
	for i := range 100 {
		r, w, err := os.Pipe()
		check("pipe", err == nil, err)
		sent, got := sha256.New(), sha256.New()
		var wg sync.WaitGroup
		wg.Go(func() {
			b := make([]byte, 70_001)
			for k := range 15 {
				rand.Read(b)
				n, err := w.Write(b[:len(b)-k*i])
				check("write", err == nil && n == len(b)-k*i, n, err)
				sent.Write(b[:n])
			}
			check("close", w.Close() == nil)
		})
		_, err = io.Copy(got, r)
		check("read", err == nil, err)
		wg.Wait()
		check("bytes", bytes.Equal(sent.Sum(nil), got.Sum(nil)))
		r.Close()
	}
	r, w, _ := os.Pipe()
	r.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	_, err := r.Read(make([]byte, 1))
	check("deadline", errors.Is(err, os.ErrDeadlineExceeded), err)
	r.Close()
	_, err = w.Write([]byte("x"))
	check("no reader", errors.Is(err, syscall.EPIPE), err)
	w.Close()
	fmt.Println("piped")
}

func timers([]string) {
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			d := time.Duration(i) * time.Millisecond / 2
			t := time.Now()
			time.Sleep(d)
			check("too early", time.Since(t) >= d, time.Since(t), d)
		})
	}
	tick := time.NewTicker(2 * time.Millisecond)
	for range 20 {
		<-tick.C
	}
	tick.Stop()
	select {
	case <-time.After(5 * time.Millisecond):
	case <-make(chan int):
	}
	wg.Wait()
	check("too early", time.Since(start) >= 99*time.Millisecond, time.Since(start))
	fmt.Println("on time")
}

type tree struct {
	l, r *tree
	v    [3]int
}

func grow(d int) *tree {
	if d == 0 {
		return &tree{}
	}
	return &tree{l: grow(d - 1), r: grow(d - 1)}
}

func (t *tree) count() int {
	if t.l == nil {
		return 1
	}
	return 1 + t.l.count() + t.r.count()
}

func stress(args []string) {
	d, _ := time.ParseDuration(args[0])
	end := time.Now().Add(d)
	on := func() bool { return time.Now().Before(end) }
	var wg sync.WaitGroup
	var trees, messages, panics, locks atomic.Int64
	for range 3 {
		wg.Go(func() {
			for on() {
				check("tree", grow(14).count() == 1<<15-1)
				trees.Add(1)
			}
		})
	}
	a, b := make(chan int), make(chan int)
	wg.Go(func() {
		for v := range a {
			b <- v + 1
		}
		close(b)
	})
	wg.Go(func() {
		for i := 0; on(); i++ {
			a <- i
			check("channel", <-b == i+1)
			messages.Add(1)
		}
		close(a)
	})
	var mu sync.Mutex
	m := map[int]string{}
	for range 4 {
		wg.Go(func() {
			for i := 0; on(); i++ {
				mu.Lock()
				m[i%5000] = strconv.Itoa(i)
				mu.Unlock()
				locks.Add(1)
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for range 20 {
		wg.Go(func() {
			for on() {
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Go(func() {
		for on() {
			func() {
				defer func() { check("no panic", recover() != nil) }()
				deref(pointer)
			}()
			panics.Add(1)
			time.Sleep(200 * time.Microsecond)
		}
	})
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		want := sha256.Sum256(buf)
		for on() {
			check("vector registers", sha256.Sum256(buf) == want)
		}
	})
	wg.Go(func() {
		for on() {
			done := make(chan bool)
			go func() { runtime.LockOSThread(); time.Sleep(time.Millisecond); close(done) }()
			<-done
			time.Sleep(10 * time.Millisecond)
		}
	})
	wg.Wait()
	check("progress", trees.Load() > 0 && messages.Load() > 0 && panics.Load() > 0 && locks.Load() > 0)
	fmt.Println("stressed")
}

// Acts does what its first argument says, for tests of the host.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

var acts = map[string]func(args []string){
	"args":    func(args []string) { fmt.Printf("%q\n", args) },
	"exit":    exit,
	"nil":     nilDereference,
	"panic":   func([]string) { panic("as asked") },
	"cat":     cat,
	"sleep":   sleep,
	"preempt": preempt,
	"trees":   trees,
	"balls":   balls,
	"term":    term,
	"yes":     yes,
	"clock":   clock,
	"vectors": vectors,
}

func main() {
	if len(os.Args) < 2 || acts[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "acts: no such act")
		os.Exit(2)
	}
	acts[os.Args[1]](os.Args[2:])
}

func number(args []string) int {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		panic(err)
	}
	return n
}

func exit(args []string) { os.Exit(number(args)) }

func nilDereference([]string) {
	defer func() { fmt.Println("recovered:", recover()) }()
	var p *int
	*p = 1
}

// cat numbers the lines of stdin.
func cat([]string) {
	s := bufio.NewScanner(os.Stdin)
	for n := 1; s.Scan(); n++ {
		fmt.Printf("%d %s\n", n, s.Text())
	}
	fmt.Fprintln(os.Stderr, "end of input")
}

func sleep(args []string) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		panic(err)
	}
	start := time.Now()
	fmt.Println("sleeping")
	time.Sleep(d)
	if time.Since(start) < d {
		fmt.Println("woke up early")
	}
}

// preempt needs a goroutine that never yields to be interrupted.
func preempt([]string) {
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for {
			}
		}()
	}
	for range 3 {
		time.Sleep(10 * time.Millisecond)
		runtime.GC()
	}
	fmt.Println("preempted")
}

type node struct{ l, r *node }

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}

func (n *node) count() int {
	if n.l == nil {
		return 1
	}
	return 1 + n.l.count() + n.r.count()
}

// trees makes garbage on several goroutines.
func trees(args []string) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range number(args) {
				if n := tree(12).count(); n != 1<<13-1 {
					panic(fmt.Sprintf("the tree has %d nodes", n))
				}
			}
		})
	}
	wg.Wait()
	fmt.Println("trees are sound")
}

// balls sends a ball round between threads.
func balls(args []string) {
	const players = 4
	var to [players + 1]chan int
	for i := range to {
		to[i] = make(chan int)
	}
	for i := range players {
		go func() {
			runtime.LockOSThread()
			for n := range to[i] {
				to[i+1] <- n + 1
			}
		}()
	}
	for n := range number(args) {
		to[0] <- n
		if got := <-to[players]; got != n+players {
			panic(fmt.Sprintf("the ball says %d, want %d", got, n+players))
		}
	}
	fmt.Println("balls came back")
}

// term ends by itself when it is asked to.
func term([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	fmt.Println("got", <-c)
	os.Exit(3)
}

func yes([]string) {
	for {
		fmt.Println("y")
	}
}

// clock prints the wall clock, and looks whether the monotonic one goes back.
func clock(args []string) {
	last := time.Now()
	for range number(args) {
		now := time.Now()
		if now.Before(last) {
			panic("time goes back")
		}
		last = now
	}
	fmt.Println(last.UnixMilli())
}

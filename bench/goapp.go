package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// goRows run one Go program natively and as an enclave: the program in
// testdata/goapps/bench, built by the same Go.
func goRows(dir string) []row {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil // no software platform
	}
	native := func(args ...string) *exec.Cmd { return exec.Command(goApp(dir).native, args...) }
	inside := func(args ...string) *exec.Cmd {
		a := goApp(dir)
		return exec.Command(a.eos, append([]string{"run", "--platform-dir", dir, a.image}, args...)...)
	}
	var rows []row
	for _, w := range []string{"sha256", "aesgcm", "sort", "json", "gc"} {
		rows = append(rows, row{"Go: " + w,
			side{name: "eos", take: func() figure { return timed(inside(w)) }},
			side{name: "native", take: func() figure { return timed(native(w)) }}, "time ≤ 1.03"})
	}
	for _, c := range []struct {
		name  string
		conns int
		keep  bool
		goal  string
	}{
		{"Go: HTTPS keep-alive, 1 connection", 1, true, "rate ≥ 0.85"},
		{"Go: HTTPS keep-alive, 8 connections", 8, true, "rate ≥ 0.95"},
		{"Go: HTTPS, a handshake each, 8 at once", 8, false, "rate ≥ 0.95"},
	} {
		rows = append(rows, row{c.name,
			side{name: "eos", take: func() figure { return requests(inside("serve", "127.0.0.1:0"), c.conns, c.keep) }},
			side{name: "native", take: func() figure { return requests(native("serve", "127.0.0.1:0"), c.conns, c.keep) }}, c.goal})
	}
	rows = append(rows,
		row{"Go: CPU of an idle HTTPS server, in 10 s",
			side{name: "eos", once: true, take: func() figure { return idle(inside("serve", "127.0.0.1:0")) }},
			side{name: "native", take: func() figure { return idle(native("serve", "127.0.0.1:0")) }}, "≈ 0"},
		row{"Go: heap committed",
			side{name: "eos", once: true, take: func() figure { return megabytes(inside("heap")) }},
			side{name: "native", take: func() figure { return megabytes(native("heap")) }}, "≤ 1.5"})
	return append(rows, row{"Go: start and end of a program",
		side{name: "eos", take: func() figure { return lasting(inside()) }},
		side{name: "native", take: func() figure { return lasting(native()) }}, "≤ 50 ms"})
}

type builtApp struct{ eos, native, image string }

var buildApp sync.Once

// goApp builds eos, and with it the program in both forms, once.
func goApp(dir string) builtApp {
	a := builtApp{filepath.Join(dir, "eos"), filepath.Join(dir, "native"), filepath.Join(dir, "inside.sgxs")}
	buildApp.Do(func() {
		run := func(in, name string, args ...string) {
			cmd := exec.Command(name, args...)
			cmd.Dir = in
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("%v: %v\n%s", cmd, err, out))
			}
		}
		const src = "testdata/goapps/bench"
		run(".", "go", "build", "-o", a.eos, "./cmd/eos")
		run(src, "go", "build", "-o", a.native, ".")
		run(src, a.eos, "build", "--heap-size", "256MiB", "-o", a.image, ".")
	})
	return a
}

// timed returns the nanoseconds that the program says each unit took: the median of
// slices of its time.
func timed(cmd *exec.Cmd) figure {
	out, err := cmd.Output()
	check(err)
	ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	check(err)
	return figure{value: ns}
}

// megabytes returns what the program says it has, in MB.
func megabytes(cmd *exec.Cmd) figure {
	f := timed(cmd)
	return figure{value: f.value / 1e6, unit: " MB"}
}

// idleTime is how long a server is watched that has nothing to do.
const idleTime = 10 * time.Second

// idle returns the processor time that a server takes which had one request and then
// none. It is told in ticks of 10 ms, so that 0 is less than one.
func idle(cmd *exec.Cmd) figure {
	f := served(cmd, func(url string) figure {
		resp, err := (&http.Client{Transport: transport()}).Get(url)
		check(err)
		resp.Body.Close()
		time.Sleep(time.Second)
		before := ticks(cmd.Process.Pid)
		time.Sleep(idleTime)
		return figure{value: 10 * float64(ticks(cmd.Process.Pid)-before), unit: " ms"}
	})
	return f
}

// ticks is the processor time of a process: user and system, in 1/100 s.
func ticks(pid int) (n int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(err)
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	for _, f := range fields[11:13] {
		t, err := strconv.Atoi(f)
		check(err)
		n += t
	}
	return n
}

// lasting returns how long the program takes to say how it is used.
func lasting(cmd *exec.Cmd) figure {
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("usage:")) {
		panic(fmt.Sprintf("%v: %v\n%s", cmd, err, out))
	}
	return figure{value: float64(time.Since(start))}
}

// requests returns the requests a second that the server answers.
func requests(cmd *exec.Cmd, conns int, keep bool) figure {
	return served(cmd, func(url string) figure { return requestsTo(url, conns, keep) })
}

func requestsTo(url string, conns int, keep bool) figure {
	var count atomic.Int64
	var wg sync.WaitGroup
	var stop atomic.Bool
	start := time.Now()
	for range conns {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: !keep}}
			for !stop.Load() {
				resp, err := client.Get(url)
				check(err)
				_, err = io.Copy(io.Discard, resp.Body)
				check(err)
				resp.Body.Close()
				count.Add(1)
			}
		})
	}
	time.Sleep(time.Second)
	stop.Store(true)
	wg.Wait()
	return figure{value: float64(count.Load()) / time.Since(start).Seconds(), unit: "/s"}
}

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// appRows ask the runtime in an enclave for what apps do, beside the same in plain Go: no
// module at all, a call of a WASM module, and one that stores and reads. A call has an
// instance of its own.
func appRows(dir string) []row {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil // no software platform
	}
	var n atomic.Uint64
	key := func() string { return fmt.Sprintf("note-%d", n.Add(1)%1000) }
	var rows []row
	for _, r := range []struct {
		name    string
		request func(url string) *http.Request
	}{
		{"POST /data", func(url string) *http.Request { return post(url+"data", "hello") }},
		{"WASM call, Go", func(url string) *http.Request { return post(url+"rpc/hello/hello", `{"name":"eos"}`) }},
		{"WASM call, C", func(url string) *http.Request { return post(url+"rpc/hello-c/hello", `{"name":"eos"}`) }},
		{"WASM store put", func(url string) *http.Request {
			return post(url+"rpc/notes/put", fmt.Sprintf(`{"name":%q,"text":"a text of a few words"}`, key()))
		}},
		{"WASM store get", func(url string) *http.Request {
			return post(url+"rpc/notes/get", fmt.Sprintf(`{"name":%q}`, "note-1"))
		}},
	} {
		for _, conns := range []int{1, 8, 64} {
			load := func(url string) figure {
				if r.name == "WASM store get" {
					once(post(url+"rpc/notes/put", `{"name":"note-1","text":"a text of a few words"}`))
				}
				return latency(conns, func() *http.Request { return r.request(url) })
			}
			rows = append(rows, row{fmt.Sprintf("%s, %d connections", r.name, conns),
				side{name: "eos", take: func() figure { return served(runApps(dir), load) }},
				side{name: "plain Go", take: func() figure {
					self, err := os.Executable()
					check(err)
					return served(exec.Command(self, plainArg, dir), load)
				}}, ""})
		}
	}
	return rows
}

// once makes one request.
func once(r *http.Request) {
	t := transport()
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(r)
	check(err)
	resp.Body.Close()
}

var buildApps sync.Once

// runApps runs an image of the examples hello-go, hello-c and notes, which it builds once.
func runApps(dir string) *exec.Cmd {
	a := goApp(dir)
	image := filepath.Join(dir, "apps.sgxs")
	buildApps.Do(func() {
		for file, guest := range map[string]string{"hello": "hello-go", "hello-c": "hello-c", "notes": "notes"} {
			check(os.WriteFile(filepath.Join(dir, file+".wasm"), guestCode(guest), 0o600))
		}
		manifest := `
[[app]]
name = "hello"
file = "hello.wasm"
[[app]]
name = "hello-c"
file = "hello-c.wasm"
[[app]]
name = "notes"
file = "notes.wasm"
interfaces = ["kv"]
[app.env]
MAX_BYTES = "4096"
`
		check(os.WriteFile(filepath.Join(dir, "eos.toml"), []byte(manifest), 0o600))
		cmd := exec.Command(a.eos, "build", "-m", filepath.Join(dir, "eos.toml"), "-o", image)
		if out, err := cmd.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v: %v\n%s", cmd, err, out))
		}
	})
	state := filepath.Join(dir, "apps.state")
	return exec.Command(a.eos, "run", "--platform-dir", dir, "--state", state, "--listen", "127.0.0.1:0", image)
}

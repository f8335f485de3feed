package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeTour runs the commands of the README's tour, in their order, in a copy of
// what they use, and looks for the lines that the README shows of their output.
func TestReadmeTour(t *testing.T) {
	if testing.Short() {
		t.Skip("a tour is not short")
	}
	if _, err := os.Stat("base/program/eos-enclave.zst"); errors.Is(err, fs.ErrNotExist) {
		t.Fatal("this eos carries no runtime: make runtime; go test -short does without the tour")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(readme), "\n## The tour\n")
	tour, _, ok := strings.Cut(tour, "\n## ")
	if !ok {
		t.Fatal("the README has no tour")
	}
	dir := t.TempDir()
	for _, part := range []string{"examples/notes", "sdk/go"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join("../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	// Somebody else may listen at the README's port.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	tour = strings.ReplaceAll(tour, "127.0.0.1:8443", address)

	script := "set -eu\ntrap 'kill $! && wait $! || true' EXIT\n"
	var want []string
	commands := 0
	for line := range strings.Lines(tour) {
		line, code := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case !code || line == "...":
		case !ok:
			want = append(want, line)
		case strings.HasSuffix(command, " &"):
			script += strings.TrimSuffix(command, " &") + " >out 2>log &\n" +
				"until grep '^listening on ' out; do kill -0 $! || { cat log; exit 1; }; sleep 0.05; done\n"
			commands++
		default:
			script += command + "\n"
			commands++
		}
	}
	if commands < 10 || len(want) < 8 {
		t.Fatalf("only %d commands and %d lines found", commands, len(want))
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "GOCACHE="+goCache(), "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, &stderr)
	}
	digest := regexp.MustCompile(`[0-9a-f]{64}`)
	said := "\n" + digest.ReplaceAllString(string(out), "HASH") + "\n"
	for _, line := range want {
		if line = digest.ReplaceAllString(line, "HASH"); !strings.Contains(said, "\n"+line+"\n") {
			t.Errorf("nothing says %q\n%s", line, said)
		}
	}
}

// TestLinks: what a document of ours points at is there.
func TestLinks(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	found := 0
	for name := range strings.FieldsSeq(string(out)) {
		path := filepath.Join("../..", name)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is about to be removed
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s points at %s", name, m[1])
			}
		}
	}
	if found < 50 {
		t.Fatalf("only %d links found", found)
	}
}

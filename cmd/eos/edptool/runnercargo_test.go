package edptool

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestMain makes the test binary what eos is: called by the name of a tool, it
// is that tool.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); Has(name) {
		os.Exit(Run(name, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// cargoProject makes a project with a program and that metadata, an empty search
// path but for a directory of its own, and returns the directory.
func cargoProject(t *testing.T, program, metadata string) (dir string) {
	t.Helper()
	dir, _ = basicELF(t, program)
	manifest := "[package]\nname = \"p\"\nversion = \"0.1.0\"\n" + metadata
	if err := os.WriteFile(filepath.Join(dir, "Cargo.toml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	t.Setenv("CARGO_MANIFEST_DIR", dir)
	return dir
}

// script puts a shell script on the search path of a project.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skipf("SKIPPED: no shell to run scripts with: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
}

const echoArgs = `for a; do printf '<%s>' "$a"; done; echo`

// TestRunnerCargo runs both tools with what the manifest says.
func TestRunnerCargo(t *testing.T) {
	threads := strconv.Itoa(runtime.NumCPU())
	for _, x := range []struct {
		name, program, metadata string
		args                    []string
		want                    string
	}{
		{"defaults", "p", "", nil,
			"<p><--heap-size><33554432><--ssaframesize><1><--stack-size><131072><--threads><" + threads + "><--debug>\nrun <p.sgxs>\n"},
		{"arguments", "p", "", []string{"-a", "b c", ""},
			"<p><--heap-size><33554432><--ssaframesize><1><--stack-size><131072><--threads><" + threads + "><--debug>\nrun <p.sgxs><--><-a><b c><>\n"},
		{"all keys", "p", "[package.metadata.fortanix-sgx]\nheap-size = 0x1000\nstack-size=4096\nssaframesize=2\nthreads=7\ndebug=false\nother=1.5\n", nil,
			"<p><--heap-size><4096><--ssaframesize><2><--stack-size><4096><--threads><7>\nrun <p.sgxs>\n"},
		{"other metadata", "p", "[package.metadata.docs]\nx=[1]\n[dependencies]\n", nil,
			"<p><--heap-size><33554432><--ssaframesize><1><--stack-size><131072><--threads><" + threads + "><--debug>\nrun <p.sgxs>\n"},
		{"runner", "p", "[package.metadata.fortanix-sgx]\nthreads=1\nrunner=\"my-runner\"\n", nil,
			"<p><--heap-size><33554432><--ssaframesize><1><--stack-size><131072><--threads><1><--debug>\nmine <p.sgxs>\n"},
		{"a dot", "p-1.2", "[package.metadata.fortanix-sgx]\nthreads=1\n", nil,
			"<p-1.2><--heap-size><33554432><--ssaframesize><1><--stack-size><131072><--threads><1><--debug><--output><p-1.2.sgxs>\nrun <p-1.2.sgxs>\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := cargoProject(t, x.program, x.metadata)
			script(t, dir, elf2sgxsName, echoArgs)
			script(t, dir, defaultRunner, "printf 'run '; "+echoArgs)
			script(t, dir, "my-runner", "printf 'mine '; "+echoArgs)
			rc, stdout, stderr := runIn(t, dir, "ftxsgx-runner-cargo", append([]string{x.program}, x.args...)...)
			if rc != 0 || stdout != x.want || stderr != "" {
				t.Errorf("exit code %d\n got %s\nwant %s\n%s", rc, stdout, x.want, stderr)
			}
		})
	}
}

// TestRunnerCargoAlone has no converter on the search path: the program calls
// itself by that name, and the image is there, with and without a dot.
func TestRunnerCargoAlone(t *testing.T) {
	for _, program := range []string{"p", "p-1.2.3"} {
		dir := cargoProject(t, program, "[package.metadata.fortanix-sgx]\nthreads=1\nheap-size=0x4000\nstack-size=0x2000\nrunner=\"my-runner\"\n")
		script(t, dir, "my-runner", `read -r line < "$1"; echo "$line $#"; exec /bin/cat`)
		rc, stdout, stderr := runIn(t, dir, "ftxsgx-runner-cargo", filepath.Join(dir, program))
		if rc != 0 || !strings.Contains(stdout, "ECREATE") || !strings.HasSuffix(stdout, " 1\n") || stderr != "" {
			t.Errorf("%s: %d %q %q", program, rc, stdout, stderr)
		}
		if fi, err := os.Stat(program + ".sgxs"); err != nil || fi.Size() != 31616 {
			t.Errorf("%s: %v", program, err)
		}
	}
}

// TestRunnerCargoErrors has the messages and exit codes.
func TestRunnerCargoErrors(t *testing.T) {
	const program = "p \"x\"\n\\é"
	const convert = `"ftxsgx-elf2sgxs" "p \"x\"\n\\é" "--heap-size" "33554432" "--ssaframesize" "1" "--stack-size" "131072" "--threads" "1" "--debug"`
	one := "[package.metadata.fortanix-sgx]\nthreads=1\n"
	for _, x := range []struct {
		name         string
		manifest     string // the whole, unless it starts with a table of metadata
		elf2sgxs     string // scripts
		runner       string
		rc           int
		stderr       string
		none, noArgs bool
	}{
		{name: "no variable", none: true, rc: 1, stderr: "ERROR: CARGO_MANIFEST_DIR is not defined in the environment.\n"},
		{name: "no file", manifest: "-", rc: 1, stderr: "ERROR: Unable to open the manifest\n"},
		{name: "not UTF-8", manifest: "a = \"\xff\"", rc: 1, stderr: "ERROR: Unable to read the manifest\n"},
		{name: "no TOML", manifest: "[package", rc: 1, stderr: "ERROR: Unable to parse the manifest\n"},
		{name: "no package", manifest: "[workspace]\n", rc: 1, stderr: "ERROR: Unable to parse the manifest\n"},
		{name: "no argument", manifest: one, noArgs: true, rc: 1, stderr: "ERROR: The program to run is missing: cargo gives it as the first argument\n"},
		{name: "converter fails", manifest: one, elf2sgxs: "exit 7", rc: 7, stderr: "ERROR: while running " + convert + " got exit status: 7\n"},
		{name: "converter is killed", manifest: one, elf2sgxs: "kill -9 $$", rc: 1, stderr: "ERROR: while running " + convert + " got signal: 9 (SIGKILL)\n"},
		{name: "runner fails", manifest: one, elf2sgxs: "exit 0", runner: "exit 255", rc: 255, stderr: `ERROR: while running "ftxsgx-runner" "p \"x\"\n\\é.sgxs" got exit status: 255` + "\n"},
		{name: "no runner", manifest: one + "runner=\"none\"\n", elf2sgxs: "exit 0", rc: 1, stderr: `ERROR: failed to run "none" "p \"x\"\n\\é.sgxs", No such file or directory (os error 2)` + "\n"},
		{name: "no runner at path", manifest: one + "runner=\"/none/x\"\n", elf2sgxs: "exit 0", rc: 1, stderr: `ERROR: failed to run "/none/x" "p \"x\"\n\\é.sgxs", No such file or directory (os error 2)` + "\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			manifest := x.manifest
			dir := cargoProject(t, "q", "")
			if strings.HasPrefix(manifest, "[package.") {
				manifest = "[package]\nname=\"p\"\n" + manifest
			}
			path := filepath.Join(dir, "Cargo.toml")
			if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			if manifest == "-" {
				os.Remove(path)
			}
			if x.none {
				os.Unsetenv("CARGO_MANIFEST_DIR")
			}
			script(t, dir, elf2sgxsName, x.elf2sgxs)
			script(t, dir, defaultRunner, x.runner)
			args := []string{program}
			if x.noArgs {
				args = nil
			}
			rc, stdout, stderr := runIn(t, dir, "ftxsgx-runner-cargo", args...)
			if rc != x.rc || stdout != "" || stderr != x.stderr {
				t.Errorf("exit code %d, want %d\n got %s%s\nwant %s", rc, x.rc, stdout, stderr, x.stderr)
			}
		})
	}
}

func TestParseManifest(t *testing.T) {
	const head = "[package]\n[package.metadata.fortanix-sgx]\n"
	for _, bad := range []string{
		head + "heap-size=-1", head + "heap-size=\"1\"", head + "heap-size=1.0", head + "stack-size=0x100000000", head + "threads=4294967296",
		head + "ssaframesize=true", head + "debug=1", head + "runner=1", "[package]\nmetadata=1", "[package.metadata]\nfortanix-sgx=[]", "package=1", "",
		head + "threads=1\nthreads=2",
	} {
		if s, err := parseManifest(bad); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
	for text, want := range map[string]cargoSettings{
		head + "heap-size=0x7fffffffffffffff\nthreads=0": {heapSize: 1<<63 - 1, stackSize: 0x20000, ssaFrameSize: 1, debug: true, runner: defaultRunner},
		head + "Threads=9\nheap_size=9\nthreads=1":       {heapSize: 0x2000000, stackSize: 0x20000, ssaFrameSize: 1, threads: 1, debug: true, runner: defaultRunner},
	} {
		if s, err := parseManifest(text); err != nil || !reflect.DeepEqual(*s, want) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestRustQuote(t *testing.T) {
	for in, want := range map[string]string{
		"": `""`, "a b": `"a b"`, "'": `"'"`, "\"\\": `"\"\\"`, "\n\r\t\x00": `"\n\r\t\0"`, "é": `"é"`, "\x1b": `"\u{1b}"`, "a\xffb": `"a\xFFb"`,
	} {
		if got := rustQuote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

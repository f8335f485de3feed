package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is in a file, a verb answers in its own way: an exit code, lines of
// ours on stderr, no panic, and no output file unless it went well.
func FuzzDamagedFile(f *testing.F) {
	for _, name := range []string{"elf/basic.elf", "elf/basic.sgxs", "elf/basic_unsized.sgxs", "sign/default.sig", "keys/key1.pem", "append/c_dup.sgxs"} {
		b, err := os.ReadFile(filepath.Join("../../testdata/vectors/edp", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
		for i := 1; i < 10; i++ {
			c := bytes.Clone(b)
			c[len(c)*i/10] ^= 0x55
			f.Add(c)
		}
	}
	f.Add([]byte(nil))
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	dir := f.TempDir()
	sgxs := "../../testdata/vectors/edp/elf/basic.sgxs"
	f.Fuzz(func(t *testing.T, b []byte) {
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := os.WriteFile(in, b, 0o600); err != nil {
			t.Fatal(err)
		}
		build := []string{"build", in, "-o", out, "-H", "4096", "-S", "4096"}
		if bytes.HasPrefix(b, []byte("\x00asm")) {
			build = build[:4] // its sizes are in the manifest
		}
		for _, args := range [][]string{
			build, {"inspect", in}, {"inspect", "--json", in}, {"inspect", "--records", "--json", in}, {"inspect", "--pages", in},
			{"inspect", "--elf", in, sgxs},
			{"append", in, "-o", out}, {"append", in, in, "-o", out},
			{"sign", "--dummy", in, out}, {"sign", "--key", in, sgxs, out}, {"verify", in}, {"verify", "--public-key", in, in},
			{"diff", in, sgxs}, {"diff", "--json", "--elf-a", in, sgxs, sgxs},
		} {
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"eos"}, args...), strings.NewReader(""), &stdout, &stderr)
			checkAnswer(t, args, code, stdout.String(), stderr.String())
			if _, err := os.Stat(out); err == nil && code != 0 {
				t.Errorf("%s: exit %d, and an output file", args[0], code)
			}
			os.Remove(out)
		}
		if names := ls(t, dir); len(names) != 1 {
			t.Errorf("left behind: %v", names)
		}
	})
}

func checkAnswer(t *testing.T, args []string, code int, stdout, stderr string) {
	t.Helper()
	failed := strings.Contains(stderr, "eos: error: ")
	switch {
	case code != 0 && code != 1:
		t.Errorf("%v: exit %d", args, code)
	case code == 0 && failed:
		t.Errorf("%v: exit 0 and an error: %s", args, stderr)
	case code == 1 && !failed && args[0] != "diff":
		t.Errorf("%v: exit 1 without a word", args)
	}
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "eos: error: ") && !strings.HasPrefix(line, "eos: warning: ") && !strings.HasPrefix(line, "eos: hint: ") {
			t.Errorf("%v: says %q", args, line)
		}
	}
	// A listing may have begun before its image turned out to be broken.
	if code == 0 && args[1] == "--json" || len(args) > 2 && code == 0 && args[2] == "--json" {
		if !json.Valid([]byte(stdout)) {
			t.Errorf("%v: not JSON: %.200s", args, stdout)
		}
	}
}

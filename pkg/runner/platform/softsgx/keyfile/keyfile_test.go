package keyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMakeAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "secret")
	if _, err := Read(path, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, content := range []string{"the first", "the second"} {
		if err := Make(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := Read(path, 10); err != nil || string(b) != "the first" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := Read(path, 3); err != nil || string(b) != "the " {
		t.Errorf("of a file that is too long: %q, %v", b, err)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, dir: 0o700 | fs.ModeDir} {
		if st, err := os.Stat(p); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, 10); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("others may read it: %v", err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if err := Make(filepath.Join(dir, "other"), nil); err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Errorf("others may replace it: %v", err)
	}
}

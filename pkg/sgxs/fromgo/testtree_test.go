package fromgo

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestTestTree(t *testing.T) {
	mod, root := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m", "testdata/above": "1", "p/a.go": "package p", "p/data.txt": "2", "p/testdata/deep/er/file": "3",
		"p/sub/not": "a sub-directory's", "other/not": "another package's",
	} {
		write(t, filepath.Join(mod, name), text)
	}
	write(t, filepath.Join(root, treeZones), "zones")
	if err := os.Symlink("data.txt", filepath.Join(mod, "p/link")); err != nil {
		t.Fatal(err)
	}
	b, err := testTree(filepath.Join(mod, "p"), root)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"module m": true, "package p": true, "zones": true, "file": true, "er": true, "a sub-directory's": false, "another package's": false} {
		if bytes.Contains(b, []byte(text)) != want {
			t.Errorf("%q in the tree: %v, want %v", text, !want, want)
		}
	}
	again, err := testTree(filepath.Join(mod, "p"), root)
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("the second tree is another one (%v)", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

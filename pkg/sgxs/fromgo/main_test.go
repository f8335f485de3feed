package fromgo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

const goapps = "../../../testdata/goapps"

func goroot(t testing.TB) string {
	t.Helper()
	c, err := findToolchain(context.Background(), t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c.root
}

// defaults are the options of the command line.
func defaults(pkg string) Options {
	return Options{Package: pkg, HeapSize: DefaultHeapSize, Threads: DefaultThreads}
}

// mustBuild makes an image of an app of testdata/goapps, or of a directory.
func mustBuild(t testing.TB, o Options) (*Image, []byte) {
	t.Helper()
	if !filepath.IsAbs(o.Package) && o.Dir == "" {
		o.Package = filepath.Join(goapps, o.Package)
	}
	var b bytes.Buffer
	img, err := Build(t.Context(), &b, o)
	if err != nil {
		t.Fatalf("build %s: %v", o.Package, err)
	}
	return img, b.Bytes()
}

// tree writes files below a new directory: names and contents in turn.
func tree(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

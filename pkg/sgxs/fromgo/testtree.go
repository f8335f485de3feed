package fromgo

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/wall"
)

// maxTree is the most that the files of a test may have in all.
const maxTree = 256 << 20

// Where things are in the file tree of a test.
const (
	treeGo    = "go"  // of GOROOT
	treeMod   = "src" // of the module with the package
	treeZones = "lib/time/zoneinfo.zip"
)

// testFiles are what the tests of a package may read, as "go test" lets them: the
// files beside the package, its testdata and that of the directories above, and
// the zones of time. They are below the module's or the tool chain's root, and
// the working directory is the package's.
type testFiles struct {
	files map[string][]byte // by path; nil is a directory
	size  int
}

// testTree is the measured form of the tree for the package in dir.
func testTree(dir, goroot string) ([]byte, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	goroot, err = filepath.EvalSymlinks(goroot)
	if err != nil {
		return nil, err
	}
	t := testFiles{files: map[string][]byte{"tmp": nil}}
	root, at := goroot, treeGo
	if rel, err := filepath.Rel(goroot, dir); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		root, at = moduleRoot(dir), treeMod
	}
	if err := t.addFile(filepath.Join(goroot, treeZones), path.Join(treeGo, treeZones)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return nil, err
	}
	cwd := path.Join(at, filepath.ToSlash(rel))
	if err := t.addDir(dir, cwd, false); err != nil {
		return nil, err
	}
	for d, in := dir, cwd; ; d, in = filepath.Dir(d), path.Dir(in) {
		if err := t.addDir(filepath.Join(d, "testdata"), path.Join(in, "testdata"), true); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if d == root {
			break
		}
	}
	if err := t.addFile(filepath.Join(root, "go.mod"), path.Join(at, "go.mod")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []wall.File
	for p, b := range t.files {
		files = append(files, wall.File{Path: p, Data: b})
	}
	// A directory is shorter than what is in it.
	slices.SortFunc(files, func(a, b wall.File) int { return strings.Compare(a.Path, b.Path) })
	return wall.AppendTree(nil, files, cwd)
}

// moduleRoot is the nearest directory with a go.mod, or dir.
func moduleRoot(dir string) string {
	for d := dir; ; {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		up := filepath.Dir(d)
		if up == d {
			return dir
		}
		d = up
	}
}

// addDir adds a directory with its files, and, if deep, all below it.
func (t *testFiles) addDir(dir, at string, deep bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	t.parents(at + "/")
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), path.Join(at, e.Name())
		fi, err := os.Stat(from) // through links, which the tree has none of
		switch {
		case err != nil:
			continue
		case fi.IsDir() && deep && e.Type()&fs.ModeSymlink == 0:
			err = t.addDir(from, to, true)
		case fi.Mode().IsRegular():
			err = t.addFile(from, to)
		}
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func (t *testFiles) addFile(from, at string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if t.size += len(b); t.size > maxTree {
		return refuse("keep large files out of the package's directory and of testdata", "the tests' files have more than %d MiB, with %s", maxTree>>20, from)
	}
	t.parents(at)
	t.files[at] = append([]byte{}, b...)
	return nil
}

// parents adds the directories above at.
func (t *testFiles) parents(at string) {
	for d := path.Dir(at); d != "."; d = path.Dir(d) {
		if _, ok := t.files[d]; !ok {
			t.files[d] = nil
		}
	}
}

package fromgo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/build"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// goPackage is a package of "go list -json".
type goPackage struct {
	Dir            string
	ImportPath     string
	Name           string
	Standard       bool
	DepOnly        bool
	ForTest        string
	GoFiles        []string
	SFiles         []string
	HFiles         []string
	SysoFiles      []string
	IgnoredGoFiles []string
	Imports        []string
	Error          *struct {
		Pos string
		Err string
	}
}

// listFields are without Module: for that, the go command completes what it
// knows in the module cache.
const listFields = "-json=Dir,ImportPath,Name,Standard,DepOnly,ForTest,GoFiles,SFiles,HFiles,SysoFiles,IgnoredGoFiles,Imports,Error"

// target is what "go list" and "go build" are told: a directory becomes "." and
// the place where they run.
func target(dir, pkg string) (runIn, pattern string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	if pkg == "" || pkg[0] == '-' {
		return "", "", refuse("", "%q is not the name of a package", pkg)
	}
	if strings.HasSuffix(pkg, ".go") {
		return "", "", refuse("name the directory that it is in", "%s is a file of Go source, not a package", pkg)
	}
	if path, version, ok := strings.Cut(pkg, "@"); ok && !build.IsLocalImport(pkg) && !filepath.IsAbs(pkg) {
		if _, err := os.Stat(filepath.Join(dir, pkg)); err != nil {
			return "", "", refuse(fmt.Sprintf("in a module of your own: go get %s, then eos build %s", pkg, path),
				"%s asks for version %s: a module says which version it is", pkg, version)
		}
	}
	at := pkg
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	if strings.Contains(pkg, "...") {
		return dir, pkg, nil // more than one package, to be refused by their number
	}
	local := filepath.IsAbs(pkg) || build.IsLocalImport(pkg)
	switch fi, err := os.Stat(at); {
	case err == nil && fi.IsDir():
		at, err = filepath.EvalSymlinks(at)
		return at, ".", err
	case local && err != nil:
		return "", "", err
	case local:
		return "", "", refuse("", "%s is not a directory", pkg)
	}
	return dir, pkg, nil
}

// list returns the main package and all that it needs.
func (t *toolchain) list(ctx context.Context, pattern string, o *Options) ([]*goPackage, error) {
	args := slices.Concat([]string{"list", "-e", "-deps", listFields}, o.buildFlags(), []string{"--", pattern})
	if o.Test {
		args = slices.Insert(args, 1, "-test")
	}
	out, err := t.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	var pkgs []*goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(goPackage)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Error != nil {
			p.Error.Pos = t.place(p.Error.Pos)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs, nil
}

// checkPackages refuses what cannot be built into an image. It names the
// package, and who wants it.
func checkPackages(pkgs []*goPackage, o *Options) error {
	roots := 0
	for _, p := range pkgs {
		if !p.DepOnly && (p.ForTest == "" && !o.Test || strings.HasSuffix(p.ImportPath, ".test")) {
			roots++
		}
		if err := checkPackage(p, pkgs, o); err != nil {
			return err
		}
	}
	if o.Test {
		switch roots {
		case 0:
			return refuse("", "%s has no tests", o.Package)
		case 1:
			return nil
		}
		return refuse("name one package", "%q names %d packages with tests", o.Package, roots)
	}
	for _, p := range pkgs {
		switch {
		case p.DepOnly:
		case p.Standard:
			return refuse("", "%s is a package of the Go tool chain", p.ImportPath)
		case p.Name != "main":
			return refuse("only a program can be an enclave: name a main package", "%s is package %s, not a main package", p.ImportPath, p.Name)
		}
	}
	if roots != 1 {
		return refuse("name one main package", "%q names %d packages", o.Package, roots)
	}
	return nil
}

// tested is the directory of the package whose tests are built.
func tested(pkgs []*goPackage) string {
	for _, p := range pkgs {
		if !p.DepOnly && strings.HasSuffix(p.ImportPath, ".test") {
			return p.Dir
		}
	}
	return ""
}

func checkPackage(p *goPackage, all []*goPackage, o *Options) error {
	if p.ImportPath == "runtime/cgo" {
		return refuse("", "package %s is cgo's%s", p.ImportPath, wantedBy(p, all))
	}
	if p.Standard {
		return p.err()
	}
	if slices.Contains(p.Imports, "plugin") {
		return refuse("an enclave's code is measured when it is built; link what the plugin has into the program",
			"package %s uses plugins%s", p.ImportPath, wantedBy(p, all))
	}
	if len(p.SysoFiles) > 0 {
		return refuse("eos takes only Go and Go assembly", "package %s has machine code without source (%s)%s", p.ImportPath, strings.Join(p.SysoFiles, ", "), wantedBy(p, all))
	}
	if files := needsCgo(p, o.tags()); files != nil {
		return refuse("use a package that is written in Go", "package %s uses cgo (%s)%s", p.ImportPath, strings.Join(files, ", "), wantedBy(p, all))
	}
	return p.err()
}

// err is what the go command has against the package.
func (p *goPackage) err() error {
	if p.Error == nil {
		return nil
	}
	text, hint := adviceFor(p.Error.Err, p.Dir)
	if p.Standard && strings.HasPrefix(text, constraints) {
		hint = "a package of an experiment of Go's: --tags goexperiment.NAME"
	}
	if p.Error.Pos != "" {
		text = p.Error.Pos + ": " + text
	}
	return refuse(hint, "%s", text)
}

const constraints = "build constraints exclude all Go files"

// adviceFor makes a hint of what the go command advises, or of what its message means
// to a program's author.
func adviceFor(text, dir string) (msg, hint string) {
	for _, advises := range []string{"; to add it:", "; to add:"} { // a module, its checksum
		if msg, do, ok := strings.Cut(text, advises); ok {
			return msg, strings.TrimSpace(do)
		}
	}
	switch {
	case strings.HasPrefix(text, "no Go files in"):
		if found, _ := filepath.Glob(filepath.Join(dir, "cmd", "*", "main.go")); len(found) > 0 {
			return text, "name a main package, for example ./cmd/" + filepath.Base(filepath.Dir(found[0]))
		}
		return text, "name the directory of a main package"
	case strings.HasPrefix(text, constraints):
		return text, "the files are for other systems, or for build tags: --tags"
	}
	return text, ""
}

// needsCgo returns the files of a package that are left out without cgo, unless
// the package has others to take their place: then it can do without.
func needsCgo(p *goPackage, tags []string) []string {
	if len(p.IgnoredGoFiles) == 0 || p.Dir == "" {
		return nil
	}
	c := build.Default
	c.GOOS, c.GOARCH, c.Compiler, c.CgoEnabled, c.BuildTags = "linux", "amd64", "gc", true, tags
	with, err := c.ImportDir(p.Dir, 0)
	if err != nil || len(with.CgoFiles) == 0 {
		return nil
	}
	for _, f := range p.GoFiles {
		if !slices.Contains(with.GoFiles, f) {
			return nil
		}
	}
	return with.CgoFiles
}

// wantedBy says which packages of all import p.
func wantedBy(p *goPackage, all []*goPackage) string {
	var by []string
	for _, q := range all {
		if slices.Contains(q.Imports, p.ImportPath) {
			by = append(by, q.ImportPath)
		}
	}
	switch {
	case len(by) == 0:
		return ""
	case len(by) > 3:
		by = append(by[:3], "others")
	}
	return "; imported by " + strings.Join(by, ", ")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/cmd/eos/base"
	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/manifest/toml"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/sgxs/fromwasm"
	"github.com/spf13/cobra"
)

// wasmFlags are the flags of build that are for WASM modules.
type wasmFlags struct {
	manifest string
	engine   string
}

// The engines.
const (
	engineCompiler    = "compiler"
	engineInterpreter = "interpreter"
)

func (w *wasmFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&w.manifest, "manifest", "m", "", "WASM: what apps there are and what they may do, `EOS.toml`")
	fl.StringVar(&w.engine, "engine", engineCompiler, "WASM, runtime: `compiler`, or interpreter for an image without a page that can be written and executed")
	completeFlagFiles(cmd, "manifest", "toml")
	completeFlagWords(cmd, "engine", engineCompiler, engineInterpreter)
}

var wasmOnly = []string{"manifest", "engine"}

// isWASM reports whether some of the files are WASM modules, by their first bytes
// or else their names.
func isWASM(args []string) bool {
	for _, a := range args {
		if ext := filepath.Ext(strings.TrimSuffix(a, ".zst")); ext == ".wasm" {
			return true
		}
		if fi, err := os.Stat(a); err != nil || !fi.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(a)
		if err != nil {
			continue
		}
		head := make([]byte, 16)
		n, _ := io.ReadFull(f, head)
		f.Close()
		if kindOf(head[:n]) == kindWASM {
			return true
		}
	}
	return false
}

// buildWASM builds an image of the modules at paths and what the manifest says
// of them.
func buildWASM(cmd *cobra.Command, u *ui, paths []string, out string, o fromgo.Options, g *goFlags, w *wasmFlags, asJSON bool) error {
	if err := refuseFlags(cmd, elfOnly, "WASM modules"); err != nil {
		return err
	}
	switch {
	case o.Unsized:
		return withHint(usagef("--unsized is not for WASM modules: they fix the size"), "eos build --runtime --unsized makes the open image of the runtime")
	case w.manifest != "" && len(g.env) > 0:
		return withHint(usagef("--env is for modules without a manifest"), "write it as [app.env] in %s", w.manifest)
	}
	env := g.env
	g.env = nil // it is the apps', not the runtime's
	if err := runtimeSizes(cmd, &o, g, w); err != nil {
		return err
	}
	m, files, err := loadApps(paths, w.manifest, env)
	if err != nil {
		return err
	}
	if out == "" {
		if out, err = wasmImageName(m, files); err != nil {
			return err
		}
	}
	if err := checkDistinct(out, append(files.paths(), w.manifest)...); err != nil {
		return err
	}
	p, modules, err := fromwasm.Pack(context.Background(), m.Manifest, files.stored())
	if err != nil {
		return files.error(err)
	}
	if err := m.Check(); err != nil {
		return manifestError(w.manifest, err)
	}
	if err := checkHostnames(w.manifest, m.Manifest); err != nil {
		return err
	}
	o.Unsized, o.Payload = true, true
	b, err := makeWASMImage(u, out, g.elf, o, p)
	if err != nil {
		return goError(u, err)
	}
	b.Engine, b.Apps = w.engine, describeApps(p, modules)
	if asJSON {
		return u.json(b)
	}
	return printWASMBuilt(u, b)
}

// checkHostnames refuses a host name with which no enclave would start. What eos run
// --host adds the enclave itself compares.
func checkHostnames(path string, m *manifest.Manifest) error {
	for i := range m.Apps {
		for _, h := range m.Apps[i].Hostnames {
			if h == "localhost" {
				return manifestError(path, withHint(fmt.Errorf("app %s: the host name localhost is the enclave's own", m.Apps[i].Name),
					"give it another name, such as %s.localhost", m.Apps[i].Name))
			}
		}
	}
	return nil
}

// appFile is where the module of an app is.
type appFile struct {
	path string
	data []byte
}

// appFiles are those of all apps, by the app's name.
type appFiles map[string]appFile

func (f appFiles) stored() map[string][]byte {
	m := map[string][]byte{}
	for name, file := range f {
		m[name] = file.data
	}
	return m
}

func (f appFiles) paths() (paths []string) {
	for _, file := range f {
		paths = append(paths, file.path)
	}
	return paths
}

// error names the file of the app that an error of Pack is about.
func (f appFiles) error(err error) error {
	rest, ok := strings.CutPrefix(err.Error(), "app ")
	name, what, found := strings.Cut(rest, ": ")
	file, known := f[name]
	if !ok || !found || !known {
		return err
	}
	var refused *fromwasm.Error
	told := fmt.Errorf("%s: %s", file.path, what)
	if errors.As(err, &refused) && refused.Hint != "" {
		return withHint(told, "%s", refused.Hint)
	}
	return told
}

// loadApps reads a manifest and the modules that it names, or makes one for the
// modules at paths. A module on the command line is that of the app with its
// name.
func loadApps(paths []string, manifestPath string, env []string) (*toml.Manifest, appFiles, error) {
	given := map[string]string{}
	var order []string
	for _, path := range paths {
		name, err := manifest.NameOf(path)
		if err != nil {
			return nil, nil, withHint(err, "rename the file, or name the app in a manifest")
		}
		if other, twice := given[name]; twice {
			return nil, nil, withHint(fmt.Errorf("%s and %s would both be the app %s", other, path, name), "rename one, or name them in a manifest")
		}
		given[name] = path
		order = append(order, name)
	}
	if manifestPath == "" {
		m := &toml.Manifest{Manifest: &manifest.Manifest{Format: manifest.Format}}
		files := appFiles{}
		for _, name := range order {
			a := manifest.NewApp(name)
			a.Env = append(a.Env, env...)
			m.Apps = append(m.Apps, a)
			data, err := readModule(given[name])
			if err != nil {
				return nil, nil, err
			}
			files[name] = appFile{given[name], data}
		}
		return m, files, nil
	}
	m, err := readManifest(manifestPath)
	if err != nil {
		return nil, nil, err
	}
	files := appFiles{}
	for i := range m.Apps {
		name, path := m.Apps[i].Name, m.Files[i]
		if path != "" && !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(manifestPath), filepath.FromSlash(path))
		}
		if arg, ok := given[name]; ok {
			path = arg
			delete(given, name)
		}
		if path == "" {
			return nil, nil, withHint(fmt.Errorf("%s: the app %s has no file", manifestPath, name), "write file = \"%s.wasm\", or give %s.wasm on the command line", name, name)
		}
		data, err := readModule(path)
		if err != nil {
			return nil, nil, err
		}
		files[name] = appFile{path, data}
	}
	for name, path := range given {
		return nil, nil, withHint(fmt.Errorf("%s: %s has no app %s", path, manifestPath, name), "the file's name is that of its app")
	}
	return m, files, nil
}

func readManifest(path string) (*toml.Manifest, error) {
	f, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize+1))
	if err != nil {
		return nil, err
	}
	m, err := toml.Parse(text)
	if err != nil {
		return nil, manifestError(path, err)
	}
	return m, nil
}

// manifestError says of which file a fault of a manifest is.
func manifestError(path string, err error) error {
	if path == "" {
		return err
	}
	var fault *toml.Error
	if errors.As(err, &fault) && fault.Line > 0 {
		return withHint(fmt.Errorf("%s:%d: %s", path, fault.Line, fault.What), "docs/manifest.md has all keys")
	}
	return fmt.Errorf("%s: %w", path, err)
}

func readModule(path string) ([]byte, error) {
	f, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, manifest.MaxModule+1))
	if err == nil && len(b) > manifest.MaxModule {
		err = fmt.Errorf("%s has more than %d MiB", path, manifest.MaxModule>>20)
	}
	return b, err
}

// wasmImageName is where the image of a single app goes.
func wasmImageName(m *toml.Manifest, files appFiles) (string, error) {
	if len(m.Apps) != 1 {
		return "", withHint(usagef("%d apps: name the image", len(m.Apps)), "eos build -o APPS.sgxs …")
	}
	path := files[m.Apps[0].Name].path
	return replaceExt(strings.TrimSuffix(path, ".zst"), ".sgxs"), nil
}

// makeWASMImage writes the image: a runtime with these options, and p behind it.
func makeWASMImage(u *ui, out, elf string, o fromgo.Options, p *payload.Payload) (*wasmBuilt, error) {
	temp, err := os.CreateTemp("", "eos-base-")
	if err != nil {
		return nil, err
	}
	defer temp.Close()
	defer removeOnSignal(temp.Name())()
	defer os.Remove(temp.Name())
	open, err := makeGoImage(temp.Name(), elf, func(ctx context.Context) (*fromgo.Built, error) { return base.Prepare(ctx, o) })
	if err != nil {
		return nil, err
	}
	// makeGoImage has put another file in its place.
	runtime, err := os.Open(temp.Name())
	if err != nil {
		return nil, err
	}
	defer runtime.Close()
	built := &wasmBuilt{goBuilt: newGoBuilt(out, open), Sized: true}
	progress := u.progress("writing "+out, 0)
	defer progress.end()
	err = writeFile(out, 0o666, func(w io.Writer) error {
		mr, err := measuring(func(measured io.Writer) (err error) {
			built.Payload, err = fromwasm.Write(io.MultiWriter(w, measured, progress), runtime, p)
			return err
		})
		built.MREnclave = mr
		return err
	})
	if err != nil {
		return nil, err
	}
	built.Size = built.Payload.Size
	built.CommittedSize += built.Payload.PayloadSize
	built.MeasuredSize += built.Payload.PayloadSize
	return built, nil
}

// wasmBuilt is what build reports of WASM apps, in the shape of its JSON.
type wasmBuilt struct {
	goBuilt
	Sized     bool            `json:"sized"`
	MREnclave sgx.Measurement `json:"mrenclave"`
	Size      uint64          `json:"size"` // ELRANGE
	Engine    string          `json:"engine"`
	Payload   *fromwasm.Image `json:"payload"`
	Apps      []appInfo       `json:"apps"`
}

func printWASMBuilt(u *ui, b *wasmBuilt) error {
	if err := u.facts("MRENCLAVE", b.MREnclave.String(),
		"image", b.Output,
		"runtime", fmt.Sprintf("%s, %s", b.Build.Package, b.Build.Go),
		"engine", engineText(b.CodeSize),
		"ELRANGE", fmt.Sprintf("%s, committed %s, measured %s", humanSize(b.Size), humanSize(b.CommittedSize), humanSize(b.MeasuredSize)),
	); err != nil {
		return err
	}
	return printApps(u, b.Apps)
}

// engineOf is the engine of an image with a code area of that size.
func engineOf(codeSize uint64) string {
	if codeSize == 0 {
		return engineInterpreter
	}
	return engineCompiler
}

func engineText(codeSize uint64) string {
	if codeSize == 0 {
		return "interpreter: no page can be written and executed"
	}
	return fmt.Sprintf("compiler: %s of pages can be written and executed", humanSize(codeSize))
}

// Package toml reads a manifest as people write it. It is for builders: an
// enclave only ever sees the canonical bytes of package manifest.
//
//	[[app]]
//	name = "notes"                       # in URLs; the file's name if absent
//	file = "notes.wasm"                  # beside this file; or given to eos build
//	hostnames = ["notes.example.org"]    # names that get its certificate
//	interfaces = ["kv", "random"]        # what of the host it may use
//	egress = ["api.example.org:443"]     # where it may connect to
//	args = ["-v"]                        # its arguments, behind its name
//
//	[app.env]                            # its environment, measured
//	GREETING = "hello"
//
//	[app.limits]                         # of one call
//	fuel = 1_000_000_000
//	memory = "64MiB"
//	time = "10s"
//	output = "1MiB"
//	concurrency = 16                     # calls at a time
//	storage = "256MiB"                   # of its keys, values and files
//	pool = 4                             # instances made before they are called
//
//	[app.permissions]
//	default_policy = "public"            # or authenticated, role, operator
//	functions.erase = { policy = "role", roles = ["editor"] }
//
//	[roles]                              # who has which: SHA-256 of bearer tokens
//	editor = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
//
// What is not named has the values of package manifest's defaults. A key that is
// not in this list is refused with its line.
package toml

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
	gotoml "github.com/pelletier/go-toml/v2"
)

// Error is a fault of a text, and its line; 0 if it is nowhere in particular.
type Error struct {
	Line int
	What string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.What
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}

// Manifest is what a text says: a manifest whose apps have no modules yet.
type Manifest struct {
	*manifest.Manifest
	Files []string // of each app's module, "" if the text names none

	lines map[string]int // of each app's table
	roles map[string]int // of each role's key
}

// Check is the manifest's own, with the line of the app or role that it is about. It is
// for a manifest whose modules have been filled in.
func (m *Manifest) Check() error {
	err := m.Manifest.Check()
	var fault *manifest.Error
	if !errors.As(err, &fault) {
		return err
	}
	kind, name, _ := strings.Cut(fault.Where, " ")
	if n, err := strconv.QuotedPrefix(name); err == nil {
		name, _ = strconv.Unquote(n)
	} else {
		name, _, _ = strings.Cut(name, ":")
	}
	line := m.lines[name]
	if kind == "role" {
		line = m.roles[name]
	}
	return &Error{line, strings.TrimPrefix(fault.Error(), "manifest: ")}
}

// text is the shape of the whole file.
type text struct {
	Apps  []app               `toml:"app"`
	Roles map[string][]string `toml:"roles"`
}

type app struct {
	Name        string            `toml:"name"`
	File        string            `toml:"file"`
	Hostnames   []string          `toml:"hostnames"`
	Interfaces  []string          `toml:"interfaces"`
	Egress      []string          `toml:"egress"`
	Args        []string          `toml:"args"`
	Env         map[string]string `toml:"env"`
	Limits      limits            `toml:"limits"`
	Permissions permissions       `toml:"permissions"`
}

type limits struct {
	Fuel        *uint64   `toml:"fuel"`
	Memory      *size     `toml:"memory"`
	Time        *duration `toml:"time"`
	Output      *size     `toml:"output"`
	Concurrency *uint32   `toml:"concurrency"`
	Storage     *size     `toml:"storage"`
	Pool        *uint32   `toml:"pool"`
}

type permissions struct {
	Default   *string           `toml:"default_policy"`
	Roles     []string          `toml:"default_roles"`
	Functions map[string]policy `toml:"functions"`
}

type policy struct {
	Policy string   `toml:"policy"`
	Roles  []string `toml:"roles"`
}

// Parse reads a text.
func Parse(b []byte) (*Manifest, error) {
	if len(b) > manifest.MaxSize {
		return nil, &Error{0, fmt.Sprintf("%d bytes: at most %d", len(b), manifest.MaxSize)}
	}
	var t text
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // as some editors begin a file
	lines, err := walk(b)
	if err != nil {
		return nil, err
	}
	if err := gotoml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields().Decode(&t); err != nil {
		return nil, fault(err)
	}
	if len(t.Apps) == 0 {
		return nil, &Error{0, "no [[app]]: a manifest names at least one"}
	}
	m := &Manifest{Manifest: &manifest.Manifest{Format: manifest.Format}, lines: map[string]int{}, roles: lines.roles}
	for i := range t.Apps {
		line := 0
		if i < len(lines.apps) {
			line = lines.apps[i]
		}
		a, err := t.Apps[i].convert()
		if err != nil {
			return nil, &Error{line, err.Error()}
		}
		if _, twice := m.lines[a.Name]; twice {
			return nil, &Error{line, fmt.Sprintf("there is an app %s already", a.Name)}
		}
		m.lines[a.Name] = line
		m.Apps, m.Files = append(m.Apps, *a), append(m.Files, t.Apps[i].File)
	}
	for name, tokens := range t.Roles {
		r := manifest.Role{Name: name}
		for _, token := range tokens {
			var h manifest.Hash
			if err := h.UnmarshalText([]byte(token)); err != nil {
				return nil, &Error{lines.roles[name], fmt.Sprintf("role %s: %v", name, err)}
			}
			r.Tokens = append(r.Tokens, h)
		}
		m.Roles = append(m.Roles, r)
	}
	return m, nil
}

func (t *app) convert() (*manifest.App, error) {
	name := t.Name
	if name == "" {
		if t.File == "" {
			return nil, errors.New("an app needs a name or a file")
		}
		var err error
		if name, err = manifest.NameOf(t.File); err != nil {
			return nil, err
		}
	}
	a := manifest.NewApp(name)
	a.Hostnames, a.Egress, a.Args = t.Hostnames, t.Egress, t.Args
	if t.Interfaces != nil {
		a.Interfaces = nil
		for _, i := range t.Interfaces {
			a.Interfaces = append(a.Interfaces, manifest.Interface(i))
		}
	}
	for k, v := range t.Env {
		a.Env = append(a.Env, k+"="+v)
	}
	if err := t.Limits.apply(&a.Limits); err != nil {
		return nil, fmt.Errorf("app %s: limits: %w", name, err)
	}
	p := &a.Permissions
	if t.Permissions.Default != nil {
		p.Default = manifest.Policy(*t.Permissions.Default)
	}
	p.Roles = t.Permissions.Roles
	for f, q := range t.Permissions.Functions {
		p.Functions = append(p.Functions, manifest.FunctionPolicy{Name: f, Policy: manifest.Policy(q.Policy), Roles: q.Roles})
	}
	return &a, nil
}

func (t *limits) apply(l *manifest.Limits) error {
	if t.Fuel != nil {
		l.Fuel = *t.Fuel
	}
	if t.Memory != nil {
		if *t.Memory%manifest.PageSize != 0 || *t.Memory/manifest.PageSize > math.MaxUint32 {
			return fmt.Errorf("memory of %d bytes is not a multiple of a page of 64KiB", *t.Memory)
		}
		l.MemoryPages = uint32(*t.Memory / manifest.PageSize)
	}
	if t.Time != nil {
		ms := time.Duration(*t.Time).Milliseconds()
		if ms < 0 || ms > math.MaxUint32 || time.Duration(ms)*time.Millisecond != time.Duration(*t.Time) {
			return fmt.Errorf("time %v is not a number of milliseconds", time.Duration(*t.Time))
		}
		l.TimeMS = uint32(ms)
	}
	if t.Output != nil {
		if *t.Output > math.MaxUint32 {
			return fmt.Errorf("output of %d bytes is too much", *t.Output)
		}
		l.OutputBytes = uint32(*t.Output)
	}
	if t.Concurrency != nil {
		l.Concurrency = *t.Concurrency
	}
	if t.Storage != nil {
		l.Storage = uint64(*t.Storage)
	}
	if t.Pool != nil {
		l.Pool = *t.Pool
	}
	return nil
}

// size is a number of bytes as in "64MiB".
type size uint64

var units = []struct {
	name  string
	shift uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"B", 0}, {"", 0}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(digits, " "), 10, 64)
		if err != nil || n > math.MaxUint64>>u.shift {
			break
		}
		*s = size(n << u.shift)
		return nil
	}
	return fmt.Errorf("%q is not a size: write for example 64MiB or 128KiB", text)
}

// duration is a time as in "10s".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time: write for example 10s or 250ms", text)
	}
	*d = duration(v)
	return nil
}

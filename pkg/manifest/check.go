package manifest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of a manifest.
const (
	maxApps      = 256
	maxRoles     = 256
	maxList      = 1024     // elements of a list
	maxEnv       = 64 << 10 // bytes of an app's environment, and of its arguments
	maxPages     = 65536    // of WASM memory
	maxOutput    = 1 << 30
	maxTime      = 24 * 3600 * 1000
	maxInFlight  = 65536
	maxStorage   = 1 << 50
	maxPool      = 1024
	maxFunctions = 4096
)

// Error says what is wrong with a manifest, and where: "app notes: limits: fuel
// is zero".
type Error struct{ Where, What string }

func (e *Error) Error() string {
	if e.Where == "" {
		return "manifest: " + e.What
	}
	return "manifest: " + e.Where + ": " + e.What
}

func faultf(where, format string, args ...any) error {
	return &Error{where, fmt.Sprintf(format, args...)}
}

// Check says whether m is valid, lists in order included.
func (m *Manifest) Check() error {
	switch {
	case m.Format != Format:
		return faultf("", "format %d: this version of eos knows %d", m.Format, Format)
	case len(m.Apps) == 0:
		return faultf("", "no apps")
	case len(m.Apps) > maxApps:
		return faultf("", "%d apps: at most %d", len(m.Apps), maxApps)
	case len(m.Roles) > maxRoles:
		return faultf("", "%d roles: at most %d", len(m.Roles), maxRoles)
	}
	if err := ascending("", "apps", m.Apps, func(a App) string { return a.Name }); err != nil {
		return err
	}
	if err := ascending("", "roles", m.Roles, func(r Role) string { return r.Name }); err != nil {
		return err
	}
	roles := map[string]bool{}
	for i := range m.Roles {
		r := &m.Roles[i]
		if err := r.check(); err != nil {
			return err
		}
		roles[r.Name] = true
	}
	owner := map[string]string{} // of a host name
	for i := range m.Apps {
		a := &m.Apps[i]
		if err := a.check(roles); err != nil {
			return err
		}
		for _, h := range a.Hostnames {
			if other, taken := owner[h]; taken {
				return faultf("app "+a.Name, "host name %s is that of app %s already", h, other)
			}
			owner[h] = a.Name
		}
	}
	return nil
}

func (r *Role) check() error {
	where := "role " + strconv.Quote(r.Name)
	switch {
	case !isWord(r.Name):
		return faultf(where, "want a name of letters, digits, '.', '_' and '-', at most 64")
	case len(r.Tokens) == 0:
		return faultf(where, "no tokens: nobody could have it")
	case len(r.Tokens) > maxList:
		return faultf(where, "%d tokens: at most %d", len(r.Tokens), maxList)
	}
	return ascending(where, "tokens", r.Tokens, Hash.String)
}

func (a *App) check(roles map[string]bool) error {
	if !isLabel(a.Name) {
		return faultf("app "+strconv.Quote(a.Name), "want a name of lower-case letters, digits and hyphens, at most 63")
	}
	where := "app " + a.Name
	for _, err := range []error{
		a.checkHostnames(where), a.Module.check(where), a.checkInterfaces(where), a.checkArgs(where), a.checkEnv(where), a.checkEgress(where),
		a.Limits.check(where), a.Permissions.check(where, roles),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *App) checkHostnames(where string) error {
	if len(a.Hostnames) > maxList {
		return faultf(where, "%d host names: at most %d", len(a.Hostnames), maxList)
	}
	for _, h := range a.Hostnames {
		if !isHostname(h) {
			return faultf(where, "%q is no host name: want lower-case labels and dots", h)
		}
	}
	return ascending(where, "hostnames", a.Hostnames, same)
}

func (m *Module) check(where string) error {
	switch {
	case m.Encoding != Raw && m.Encoding != Zstd:
		return faultf(where, "module has encoding %q: want %q or %q", m.Encoding, Raw, Zstd)
	case m.SHA256 == Hash{}:
		return faultf(where, "module has no hash")
	case m.Size == 0 || m.StoredSize == 0:
		return faultf(where, "module is empty")
	case m.Size > MaxModule || m.StoredSize > MaxModule:
		return faultf(where, "module has %d bytes: at most %d", max(m.Size, m.StoredSize), MaxModule)
	case m.Encoding == Raw && m.Size != m.StoredSize:
		return faultf(where, "module has %d bytes and is stored with %d", m.Size, m.StoredSize)
	}
	return nil
}

func (a *App) checkInterfaces(where string) error {
	for _, i := range a.Interfaces {
		if !slices.Contains(Interfaces, i) {
			return faultf(where, "unknown interface %q: want some of %q", i, Interfaces)
		}
	}
	return ascending(where, "interfaces", a.Interfaces, func(i Interface) string { return string(i) })
}

func (a *App) checkArgs(where string) error {
	total := 0
	for i, arg := range a.Args {
		if !utf8.ValidString(arg) || strings.ContainsRune(arg, 0) {
			return faultf(where, "argument %d is not UTF-8 without NUL", i+1)
		}
		total += len(arg) + 1
	}
	if total > maxEnv {
		return faultf(where, "the arguments have %d bytes: at most %d", total, maxEnv)
	}
	return nil
}

func envKey(kv string) string {
	k, _, _ := strings.Cut(kv, "=")
	return k
}

func (a *App) checkEnv(where string) error {
	total := 0
	for _, kv := range a.Env {
		key, value, ok := strings.Cut(kv, "=")
		switch {
		case !ok || !isVariable(key):
			return faultf(where, "environment: %q is no name of a variable", key)
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return faultf(where, "environment: the value of %s is not UTF-8 without NUL", key)
		}
		total += len(kv) + 1
	}
	if total > maxEnv {
		return faultf(where, "the environment has %d bytes: at most %d", total, maxEnv)
	}
	return ascending(where, "env", a.Env, envKey)
}

func (a *App) checkEgress(where string) error {
	if len(a.Egress) > maxList {
		return faultf(where, "%d places to connect to: at most %d", len(a.Egress), maxList)
	}
	for _, e := range a.Egress {
		if !isPlace(e) {
			return faultf(where, "egress: %q is no place to connect to: want host:port, *.domain:port or address:port", e)
		}
	}
	return ascending(where, "egress", a.Egress, same)
}

func (l *Limits) check(where string) error {
	where += ": limits"
	for _, n := range []struct {
		name       string
		have, most uint64
	}{
		{"fuel", l.Fuel, 1<<63 - 1}, {"memory", uint64(l.MemoryPages), maxPages}, {"time", uint64(l.TimeMS), maxTime},
		{"output", uint64(l.OutputBytes), maxOutput}, {"concurrency", uint64(l.Concurrency), maxInFlight},
		{"storage", l.Storage, maxStorage},
	} {
		switch {
		case n.have == 0:
			return faultf(where, "%s is zero", n.name)
		case n.have > n.most && n.name == "memory":
			return faultf(where, "memory is %d pages of 64KiB: at most %d", n.have, n.most)
		case n.have > n.most:
			return faultf(where, "%s is %d: at most %d", n.name, n.have, n.most)
		}
	}
	if l.Pool > maxPool {
		return faultf(where, "pool is %d: at most %d", l.Pool, maxPool)
	}
	return nil
}

func (p *Permissions) check(where string, known map[string]bool) error {
	where += ": permissions"
	if err := checkPolicy(where, p.Default, p.Roles, known); err != nil {
		return err
	}
	if len(p.Functions) > maxFunctions {
		return faultf(where, "%d functions: at most %d", len(p.Functions), maxFunctions)
	}
	for i := range p.Functions {
		f := &p.Functions[i]
		if f.Name == "" || len(f.Name) > 256 || !utf8.ValidString(f.Name) {
			return faultf(where, "%q is no name of a function", f.Name)
		}
		if err := checkPolicy(where+": "+strconv.Quote(f.Name), f.Policy, f.Roles, known); err != nil {
			return err
		}
	}
	return ascending(where, "functions", p.Functions, func(f FunctionPolicy) string { return f.Name })
}

func checkPolicy(where string, p Policy, roles []string, known map[string]bool) error {
	switch p {
	case WithRole:
		if len(roles) == 0 {
			return faultf(where, "the policy %q names no roles", p)
		}
	case Public, Authenticated, Operator:
		if len(roles) > 0 {
			return faultf(where, "roles are for the policy %q, not %q", WithRole, p)
		}
	default:
		return faultf(where, "unknown policy %q: want %q, %q, %q or %q", p, Public, Authenticated, WithRole, Operator)
	}
	for _, r := range roles {
		if !known[r] {
			return faultf(where, "there is no role %q", r)
		}
	}
	return ascending(where, "roles", roles, same)
}

func same(s string) string { return s }

// ascending refuses a list that is not sorted, or has an element twice.
func ascending[T any](where, what string, l []T, key func(T) string) error {
	for i := 1; i < len(l); i++ {
		switch a, b := key(l[i-1]), key(l[i]); cmp.Compare(a, b) {
		case 0:
			return faultf(where, "%s: %q is there twice", what, a)
		case 1:
			return faultf(where, "%s: %q stands before %q: not in order", what, a, b)
		}
	}
	return nil
}

// isLabel reports whether s is a DNS label in lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !lowerOrDigit(r) && r != '-' })
}

func lowerOrDigit(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }

func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	_, err := netip.ParseAddr(s)
	return err != nil
}

func isWord(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !lowerOrDigit(r) && (r < 'A' || r > 'Z') && !strings.ContainsRune("._-", r)
	})
}

func isVariable(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, func(r rune) bool {
		return !lowerOrDigit(r) && (r < 'A' || r > 'Z') && r != '_'
	})
}

// isPlace reports whether s is "host:port", in one form only.
func isPlace(s string) bool {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return false
	}
	host, port := s[:colon], s[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if domain, ok := strings.CutPrefix(host, "*."); ok {
		return isHostname(domain)
	}
	if isHostname(host) {
		return true
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	a, err := netip.ParseAddr(bare)
	return err == nil && a.Zone() == "" && netip.AddrPortFrom(a, 0).String() == host+":0"
}

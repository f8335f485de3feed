// Package manifest says which WASM apps are in an enclave image and what each of
// them may do. A manifest is part of the image and therefore of MRENCLAVE: who
// verifies the enclave verifies these words too, and nobody can change them
// without making another enclave.
//
// People write manifests in TOML (package toml). In the image there are only
// canonical bytes, JSON in one form: Parse refuses every other one.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Format is the number of this form of manifest.
const Format = 1

// Manifest describes the apps of an image. Lists are sorted and have no element
// twice; Normalize sorts them.
type Manifest struct {
	Format int    `json:"format"`
	Apps   []App  `json:"apps"`  // by name
	Roles  []Role `json:"roles"` // by name
}

// App is one WASM module under a name.
type App struct {
	Name        string      `json:"name"`       // a DNS label, in URLs and of tables
	Hostnames   []string    `json:"hostnames"`  // the names (SNI) that have its certificate
	Module      Module      `json:"module"`     // what runs
	Interfaces  []Interface `json:"interfaces"` // of the host's functions, those that it may call
	Args        []string    `json:"args"`       // behind its name, in their order
	Env         []string    `json:"env"`        // "KEY=value": its whole environment
	Egress      []string    `json:"egress"`     // "host:port" that it may connect to; "*.example.com:443" for subdomains
	Limits      Limits      `json:"limits"`
	Permissions Permissions `json:"permissions"`
}

// Module is the identity of an app's code.
type Module struct {
	SHA256     Hash     `json:"sha256"`      // of the module as it runs, decompressed
	Size       uint64   `json:"size"`        // bytes of that
	Encoding   Encoding `json:"encoding"`    // how it lies in the image
	StoredSize uint64   `json:"stored_size"` // bytes of that
}

// Hash is a SHA-256, in JSON 64 hex digits.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("%q is not a SHA-256: want %d hex digits", text, 2*len(h))
	}
	copy(h[:], b)
	return nil
}

// Encoding says how a module lies in an image.
type Encoding string

// The encodings.
const (
	Raw  Encoding = "wasm"
	Zstd Encoding = "zstd"
)

// Interface is a group of the functions that the host gives to guests.
type Interface string

// The interfaces. What is not among an app's is not there for it: each call ends
// with "not permitted".
const (
	KV          Interface = "kv"          // its tables in the sealed store
	Crypto      Interface = "crypto"      // digests, and keys that stay in the enclave
	Random      Interface = "random"      // RDRAND
	HTTPS       Interface = "https"       // requests to what Egress allows
	Seal        Interface = "seal"        // a key of this app in this enclave
	Caller      Interface = "caller"      // who calls, and with which roles
	Attestation Interface = "attestation" // its extension in the certificate
)

// Interfaces are all of them, sorted.
var Interfaces = []Interface{Attestation, Caller, Crypto, HTTPS, KV, Random, Seal}

// Limits bound what one call of an app can use up, and what the app can store. None may
// be zero but Pool.
type Limits struct {
	Fuel        uint64 `json:"fuel"`         // instructions of a call, as the metering pass counts
	MemoryPages uint32 `json:"memory_pages"` // of 64 KiB
	TimeMS      uint32 `json:"time_ms"`      // wall-clock of a call
	OutputBytes uint32 `json:"output_bytes"` // of a call's result
	Concurrency uint32 `json:"concurrency"`  // calls at a time; more wait
	Storage     uint64 `json:"storage"`      // bytes of its keys, values and files, as the store counts them
	Pool        uint32 `json:"pool"`         // instances that are made before they are called
}

// Policy says who may call.
type Policy string

// The policies. The operator's token passes each of them.
const (
	Public        Policy = "public"        // everybody
	Authenticated Policy = "authenticated" // who has any role
	WithRole      Policy = "role"          // who has one of the roles that are named
	Operator      Policy = "operator"      // the operator only
)

// Permissions say who may call which function of an app.
type Permissions struct {
	Default   Policy           `json:"default_policy"`
	Roles     []string         `json:"default_roles"` // for the policy "role"
	Functions []FunctionPolicy `json:"functions"`     // by name; the others have the default
}

// FunctionPolicy is the policy of one function.
type FunctionPolicy struct {
	Name   string   `json:"name"`
	Policy Policy   `json:"policy"`
	Roles  []string `json:"roles"`
}

// For returns the policy of a function.
func (p *Permissions) For(function string) (Policy, []string) {
	for i := range p.Functions {
		if f := &p.Functions[i]; f.Name == function {
			return f.Policy, f.Roles
		}
	}
	return p.Default, p.Roles
}

// Role is a name for callers who hold one of these tokens.
type Role struct {
	Name   string `json:"name"`
	Tokens []Hash `json:"tokens"` // SHA-256 of each bearer token
}

// App returns the app with that name, nil if there is none.
func (m *Manifest) App(name string) *App {
	for i := range m.Apps {
		if m.Apps[i].Name == name {
			return &m.Apps[i]
		}
	}
	return nil
}

// RolesOf returns the roles of who shows this bearer token.
func (m *Manifest) RolesOf(token string) []string {
	sum := Hash(sha256.Sum256([]byte(token)))
	var roles []string
	for _, r := range m.Roles {
		for _, t := range r.Tokens {
			if t == sum { // hashes: comparing them tells nothing of the token
				roles = append(roles, r.Name)
				break
			}
		}
	}
	return roles
}

// May reports whether an app may use an interface.
func (a *App) May(i Interface) bool {
	for _, have := range a.Interfaces {
		if have == i {
			return true
		}
	}
	return false
}

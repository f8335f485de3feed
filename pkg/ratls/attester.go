package ratls

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Quoter makes quotes of the enclave that it is called in.
type Quoter interface {
	Quote(ctx context.Context, reportData [sgx.ReportDataSize]byte) ([]byte, error)
}

// Evidence says where an Attester puts its evidence. The package's documentation tells
// what each place proves. The session step is offered in every mode.
type Evidence int

const (
	// EvidenceLeaf puts a quote into each leaf.
	EvidenceLeaf Evidence = iota
	// EvidenceSession makes leaves without, as clients want that know of the session
	// step only.
	EvidenceSession
	// EvidenceBySNI has both kinds of leaf for each host name H: the one with the
	// quote for H, and the one without for "session.H".
	EvidenceBySNI
)

// sessionLabel is the first label of names that get a leaf without a quote.
const sessionLabel = "session."

// ParseEvidence reads the name of a mode: "leaf", "session" or "both-by-sni".
func ParseEvidence(s string) (Evidence, error) {
	i := slices.Index(evidenceNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("evidence %.32q is not one of %s", s, strings.Join(evidenceNames[:], ", "))
	}
	return Evidence(i), nil
}

var evidenceNames = [...]string{"leaf", "session", "both-by-sni"}

func (e Evidence) String() string {
	if e < 0 || int(e) >= len(evidenceNames) {
		return fmt.Sprintf("Evidence(%d)", int(e))
	}
	return evidenceNames[e]
}

// LeafUse says how long a leaf is handed out.
type LeafUse struct {
	// PerConnection makes a key, a quote and a leaf for each connection.
	PerConnection bool
	// Lifetime is how long connections share a leaf, if they do: between
	// MinLifetime and MaxLifetime. Zero means DefaultLifetime.
	Lifetime time.Duration
}

// Bounds of LeafUse.Lifetime. Leaves are valid for MaxLifetime whatever their use.
const (
	MinLifetime     = time.Minute
	DefaultLifetime = time.Hour
	MaxLifetime     = 24 * time.Hour
)

// perConnection is the text of LeafUse.PerConnection.
const perConnection = "per-connection"

// ParseLeafUse reads "per-connection" or a duration such as "1h".
func ParseLeafUse(s string) (LeafUse, error) {
	if s == perConnection {
		return LeafUse{PerConnection: true}, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return LeafUse{}, fmt.Errorf("leaf use %.32q is neither %q nor a duration such as 1h", s, perConnection)
	}
	u := LeafUse{Lifetime: d}
	if d == 0 {
		d = -1 // zero is the default in Go, but not in words
	}
	return u, LeafUse{Lifetime: d}.check()
}

func (u LeafUse) String() string {
	if u.PerConnection {
		return perConnection
	}
	return u.Lifetime.String()
}

func (u LeafUse) check() error {
	if u.PerConnection && u.Lifetime != 0 {
		return errors.New("a leaf is either made for each connection or shared for a time")
	}
	if u.Lifetime != 0 && (u.Lifetime < MinLifetime || u.Lifetime > MaxLifetime) {
		return fmt.Errorf("a leaf is shared for %s to %s, not for %s", MinLifetime, MaxLifetime, u.Lifetime)
	}
	return nil
}

// Subject is somebody whom the enclave is for the outside: the platform, or an app.
type Subject struct {
	Name       string      // the leaf's common name
	Hosts      []string    // DNS names, which select the leaf by SNI, and IP addresses
	Extensions []Extension // claims
}

// AttesterConfig is what an Attester needs. Only Quoter and CA must be set.
type AttesterConfig struct {
	Quoter   Quoter
	CA       *CA
	Evidence Evidence
	Leaf     LeafUse

	// QuotesPerSecond bounds the quotes that connections can cause, and Burst how
	// many of them at once: for leaves, and separately for session steps. Zero
	// means DefaultQuotesPerSecond and DefaultBurst.
	QuotesPerSecond, Burst int

	// Clients, if not nil, has clients asked for evidence too. A client that shows
	// a certificate must then prove the session by a quote before any request
	// of its passes; one without passes as nobody, unless RequireClient is set.
	Clients       *Trust
	RequireClient bool

	Now func() time.Time // nil is time.Now
	Log *slog.Logger     // nil discards
}

// Defaults of AttesterConfig. A hardware quote takes some 10 ms of one core.
const (
	DefaultQuotesPerSecond = 100
	DefaultBurst           = 100
)

// quoteTimeout bounds the wait for one quote.
const quoteTimeout = 15 * time.Second

// Attester makes keys, evidence and leaves for an enclave: for its server, which calls
// Handshake and Handler, and for its clients in mutual RA-TLS. Leaves are made by
// SetSubjects and Run, never by a handshake; what a handshake does is to choose one.
type Attester struct {
	cfg     AttesterConfig
	log     *slog.Logger
	now     func() time.Time
	minting *bucket // quotes for leaves of one connection each
	asking  *bucket // quotes for session steps
	warning *bucket // lines in the log that clients cause
	tls     tlsConfigs

	changed chan struct{} // tells Run of new identities

	mu    sync.Mutex // held to change what follows, and not while quotes are made
	ca    *CA
	state atomic.Pointer[identities]
}

// identities are all that handshakes can choose from. Only the leaves in it change.
type identities struct {
	all      []*identity
	platform [2]*identity // by "without a quote"
	byHost   map[string]*identity
}

// identity is one subject with one kind of leaf.
type identity struct {
	subject Subject
	ca      *CA
	quoted  bool
	pool    chan *leaf // of leaves for one connection each

	minting  sync.Mutex           // one leaf at a time
	current  atomic.Pointer[leaf] // what connections share
	sameKey  *ecdsa.PrivateKey    // of leaves without a quote: it stays when they are renewed
	lastFail atomic.Pointer[error]

	retired atomic.Bool   // the claims are no longer true
	ready   chan struct{} // closed when a shared leaf was made, or failed to be, or id is retired
	readied sync.Once
}

// NewAttester checks the configuration. Nothing can connect before SetSubjects.
func NewAttester(cfg AttesterConfig) (*Attester, error) {
	switch {
	case cfg.Quoter == nil:
		return nil, errors.New("ratls: an attester needs a quoter")
	case cfg.CA == nil:
		return nil, errors.New("ratls: an attester needs a CA: NewSelfMade makes one")
	case cfg.Evidence < 0 || int(cfg.Evidence) >= len(evidenceNames):
		return nil, fmt.Errorf("ratls: %v is no place for evidence", cfg.Evidence)
	case cfg.QuotesPerSecond < 0 || cfg.Burst < 0:
		return nil, errors.New("ratls: a rate cannot be negative")
	case cfg.RequireClient && cfg.Clients == nil:
		return nil, errors.New("ratls: to require clients' evidence, say what is accepted (Clients)")
	}
	if err := cfg.Leaf.check(); err != nil {
		return nil, fmt.Errorf("ratls: %w", err)
	}
	if cfg.Clients != nil {
		if err := cfg.Clients.check(); err != nil {
			return nil, err
		}
	}
	if cfg.Leaf.Lifetime == 0 {
		cfg.Leaf.Lifetime = DefaultLifetime
	}
	if cfg.QuotesPerSecond == 0 {
		cfg.QuotesPerSecond = DefaultQuotesPerSecond
	}
	if cfg.Burst == 0 {
		cfg.Burst = DefaultBurst
	}
	a := &Attester{
		cfg: cfg, ca: cfg.CA, log: cfg.Log, now: cfg.Now,
		minting: newBucket(cfg.QuotesPerSecond, cfg.Burst),
		asking:  newBucket(cfg.QuotesPerSecond, cfg.Burst),
		warning: newBucket(1, 10),
		changed: make(chan struct{}, 1),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.tls = a.newTLSConfigs()
	return a, nil
}

// warn logs what a client causes, unless clients cause too much of it.
func (a *Attester) warn(msg string, args ...any) {
	if a.warning.take(a.now()) == 0 {
		a.log.Warn(msg, args...)
	}
}

// SetCA changes the CA for the leaves that the next SetSubjects makes. So a new CA and
// a configuration that has its hash take effect together.
func (a *Attester) SetCA(ca *CA) error {
	if ca == nil {
		return errors.New("ratls: no CA")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ca = ca
	return nil
}

// SetSubjects says who the enclave is from now on, and makes their leaves: platform for
// unknown names and none, and each app for its own hosts. From the beginning of the
// call on, no handshake gets a leaf whose claims are not those given here; it waits
// for the new leaf instead, and fails if that cannot be made. Subjects that stay as they
// were keep their leaves. On error nobody can connect to those that changed until Run
// or another call has made their leaves.
func (a *Attester) SetSubjects(ctx context.Context, platform Subject, apps ...Subject) error {
	next, err := a.swap(append([]Subject{platform}, apps...))
	if err != nil {
		return err
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
	if a.cfg.Leaf.PerConnection {
		return nil
	}
	for _, id := range next.all {
		_, e := a.renewDue(ctx, id)
		err = errors.Join(err, e)
	}
	return err
}

// swap publishes the identities of subjects and retires those that are gone.
func (a *Attester) swap(subjects []Subject) (*identities, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.state.Load()
	next, err := a.identitiesOf(old, subjects)
	if err != nil {
		return nil, err
	}
	a.state.Store(next)
	if old != nil {
		for _, id := range old.all {
			if !slices.Contains(next.all, id) {
				id.retire()
			}
		}
	}
	return next, nil
}

func (a *Attester) identitiesOf(old *identities, subjects []Subject) (*identities, error) {
	next := &identities{byHost: make(map[string]*identity)}
	kinds := []bool{a.cfg.Evidence != EvidenceSession}
	if a.cfg.Evidence == EvidenceBySNI {
		kinds = []bool{true, false}
	}
	for i, s := range subjects {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("ratls: subject %.64q: %w", s.Name, err)
		}
		for _, quoted := range kinds {
			id := newIdentity(s, a.ca, quoted, a.cfg.Evidence == EvidenceBySNI && !quoted)
			if same := old.find(id); same != nil {
				id = same
			}
			next.all = append(next.all, id)
			for _, h := range id.subject.Hosts {
				if net.ParseIP(h) != nil {
					continue // an address cannot be a server name
				}
				if o := next.byHost[h]; o != nil {
					return nil, &HostError{Host: h, First: o.subject.Name, Second: s.Name}
				}
				next.byHost[h] = id
			}
			if i == 0 && len(kinds) == 1 {
				next.platform = [2]*identity{id, id}
			} else if i == 0 && quoted {
				next.platform[0] = id
			} else if i == 0 {
				next.platform[1] = id
			}
		}
	}
	return next, nil
}

// HostError is of a host name that two subjects have.
type HostError struct{ Host, First, Second string }

func (e *HostError) Error() string {
	return fmt.Sprintf("ratls: %q is a host of both %.64q and %.64q", e.Host, e.First, e.Second)
}

func newIdentity(s Subject, ca *CA, quoted, prefixed bool) *identity {
	hosts := make([]string, len(s.Hosts))
	for i, h := range s.Hosts {
		if hosts[i] = strings.ToLower(h); prefixed && net.ParseIP(h) == nil {
			hosts[i] = sessionLabel + hosts[i]
		}
	}
	s.Hosts = hosts
	exts := slices.Clone(s.Extensions)
	for i := range exts {
		exts[i].Value = slices.Clone(exts[i].Value)
	}
	s.Extensions = exts
	return &identity{subject: s, ca: ca, quoted: quoted, pool: make(chan *leaf, poolSize), ready: make(chan struct{})}
}

// find finds the identity in is that is like id.
func (is *identities) find(id *identity) *identity {
	if is == nil {
		return nil
	}
	i := slices.IndexFunc(is.all, func(o *identity) bool {
		return o.ca == id.ca && o.quoted == id.quoted && reflect.DeepEqual(o.subject, id.subject)
	})
	if i < 0 {
		return nil
	}
	return is.all[i]
}

// choose is what a handshake calls: the identity for a server name. An unknown name
// gets the platform's, made long ago.
func (is *identities) choose(serverName string) *identity {
	name := strings.ToLower(serverName)
	if id := is.byHost[name]; id != nil {
		return id
	}
	if strings.HasPrefix(name, sessionLabel) {
		return is.platform[1]
	}
	return is.platform[0]
}

func (s *Subject) check() error {
	if s.Name == "" || len(s.Name) > 64 {
		return errors.New("a leaf needs a common name of 1 to 64 bytes")
	}
	if len(s.Hosts) == 0 {
		return errors.New("a leaf needs a host name or an address")
	}
	if len(s.Hosts) > maxHosts {
		return fmt.Errorf("%d hosts, at most %d fit into a leaf", len(s.Hosts), maxHosts)
	}
	for _, h := range s.Hosts {
		if net.ParseIP(h) == nil && !validHost(h) {
			return fmt.Errorf("%.64q is neither a host name nor an address", h)
		}
	}
	return checkExtensions(s.Extensions)
}

// maxHosts bounds the names in one leaf.
const maxHosts = 64

// validHost reports whether h is a DNS name as SNI has them: ASCII, no final dot.
func validHost(h string) bool {
	if len(h)+len(sessionLabel) > 253 {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

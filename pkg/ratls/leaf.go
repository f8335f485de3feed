package ratls

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Leaves for one connection each are made ahead.
const (
	poolSize = 8
	poolAge  = 5 * time.Minute // older ones are thrown away
)

// How long Run waits after a leaf could not be made: without one nobody can connect, and
// with one there is time.
const (
	retrySoon  = 3 * time.Second
	retryLater = time.Minute
)

// leaf is a certificate with its key and evidence.
type leaf struct {
	of   *identity
	cert *tls.Certificate
	key  [32]byte // SHA-256 of the SPKI

	mu     sync.Mutex // of what a deterministic session step answers
	quote  []byte     // nil until there is one
	quoted time.Time  // the minute in its report data
}

func (l *leaf) spki() []byte { return l.cert.Leaf.RawSubjectPublicKeyInfo }

// newKey makes the key for a leaf, or finds the one that stays.
func (id *identity) newKey() (*ecdsa.PrivateKey, error) {
	if !id.quoted && id.sameKey != nil {
		return id.sameKey, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err == nil && !id.quoted {
		id.sameKey = key
	}
	return key, err
}

// mint makes a leaf; id.minting is held. One that connections share has the evidence in both forms, each
// of which takes a quote of its own; one for a single connection has the first form.
func (a *Attester) mint(ctx context.Context, id *identity, shared bool) (*leaf, error) {
	key, err := id.newKey()
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	notBefore := a.now().UTC().Truncate(time.Minute)
	l := &leaf{of: id, key: sha256.Sum256(spki)}
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: id.subject.Name},
		NotBefore:             notBefore,
		NotAfter:              notBefore.Add(MaxLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range id.subject.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	if id.quoted {
		if l.quote, err = a.quoteFor(ctx, DeterministicReportData(spki, notBefore)); err != nil {
			return nil, err
		}
		l.quoted = notBefore
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: OIDQuote, Value: l.quote})
	}
	for _, e := range id.subject.Extensions {
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: e.OID, Value: e.Value})
	}
	if id.quoted && shared {
		quote, err := a.quoteFor(ctx, DICEReportData(spki))
		if err != nil {
			return nil, err
		}
		value, _ := newDICE(spki, quote).AppendBinary(nil)
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: OIDDICE, Value: value})
	}
	chain, err := id.ca.sign(tmpl, key.Public())
	if err != nil {
		return nil, err
	}
	l.cert, err = certificate(chain, key)
	return l, err
}

// quoteFor gets a quote and looks whether it is one for the data asked for: who answers
// is the host.
func (a *Attester) quoteFor(ctx context.Context, data [sgx.ReportDataSize]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, quoteTimeout)
	defer cancel()
	quote, err := a.cfg.Quoter.Quote(ctx, data)
	if err != nil {
		return nil, fmt.Errorf("ratls: quote: %w", err)
	}
	q, err := attest.ParseQuote(quote)
	switch {
	case err != nil:
		return nil, fmt.Errorf("ratls: the quoting service gave something else than a quote: %w", err)
	case q.TEE != attest.SGX || q.ReportData() != data:
		return nil, errors.New("ratls: the quoting service gave a quote of something else than it was asked for")
	}
	return quote, nil
}

// renewDue makes the next leaf that connections to id share, if it is time for one. It
// says how long that leaf, or the old one, will do.
func (a *Attester) renewDue(ctx context.Context, id *identity) (time.Duration, error) {
	id.minting.Lock()
	defer id.minting.Unlock()
	now, retry := a.now(), retrySoon
	if l := id.current.Load(); l != nil && l.valid(now) {
		if left := a.due(l).Sub(now); left > 0 {
			return left, nil
		}
		retry = retryLater
	}
	if id.retired.Load() {
		return MaxLifetime, nil
	}
	l, err := a.mint(ctx, id, true)
	if err != nil {
		id.lastFail.Store(&err)
	} else {
		id.current.Store(l)
	}
	id.readied.Do(func() { close(id.ready) })
	if err != nil {
		return retry, err
	}
	return a.due(l).Sub(now), nil
}

// retire has no further leaf handed out: the claims in it are no longer true.
func (id *identity) retire() {
	id.retired.Store(true)
	id.readied.Do(func() { close(id.ready) })
}

// due is when a shared leaf is to be replaced.
func (a *Attester) due(l *leaf) time.Time {
	c := l.cert.Leaf
	due := c.NotBefore.Add(a.cfg.Leaf.Lifetime)
	if last := c.NotAfter.Add(-time.Hour); last.After(c.NotBefore) && due.After(last) {
		return last
	}
	if due.After(c.NotAfter) {
		return c.NotAfter
	}
	return due
}

// valid reports whether a client accepts the leaf's dates. The host may set its clock
// back by a little; if it sets it back by more, the leaf is useless until then.
func (l *leaf) valid(now time.Time) bool {
	return !now.Add(clockSkew).Before(l.cert.Leaf.NotBefore) && now.Before(l.cert.Leaf.NotAfter)
}

// take gets the leaf for a connection to id, and waits until there is one.
func (a *Attester) take(ctx context.Context, id *identity) (*leaf, error) {
	if a.cfg.Leaf.PerConnection {
		for {
			select {
			case l := <-id.pool:
				if now := a.now(); l.valid(now) && now.Sub(l.cert.Leaf.NotBefore) < poolAge {
					return l, nil
				}
			case <-id.ready: // retired
				return nil, errRetired
			case <-ctx.Done():
				return nil, fmt.Errorf("ratls: no leaf in time: %w", ctx.Err())
			}
		}
	}
	select {
	case <-id.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("ratls: no leaf in time: %w", ctx.Err())
	}
	switch l := id.current.Load(); {
	case id.retired.Load():
		return nil, errRetired
	case l == nil:
		return nil, *id.lastFail.Load()
	case !l.valid(a.now()):
		return nil, errors.New("ratls: the leaf is out of date by the host's clock, and there is no newer one")
	default:
		return l, nil
	}
}

var errRetired = errors.New("ratls: the configuration has changed")

// Run renews leaves until ctx ends, and returns nil then. Without it leaves expire, and
// those for one connection each are never made.
func (a *Attester) Run(ctx context.Context) error {
	if a.cfg.Leaf.PerConnection {
		a.runPools(ctx)
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-timer.C:
		}
		timer.Reset(a.renewAll(ctx))
	}
}

// renewAll renews what is due, and says when to come again.
func (a *Attester) renewAll(ctx context.Context) time.Duration {
	next := time.Minute // looks at the clock again: it may have been set
	is := a.state.Load()
	if is == nil {
		return next
	}
	for _, id := range is.all {
		left, err := a.renewDue(ctx, id)
		if err != nil && ctx.Err() == nil {
			a.log.Error("no new leaf", "subject", id.subject.Name, "err", err)
		}
		next = min(next, left)
	}
	return max(next, time.Second)
}

// runPools keeps the pools full, for as long as each identity is in use.
func (a *Attester) runPools(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := make(map[*identity]bool)
	for {
		if is := a.state.Load(); is != nil {
			for id := range running {
				if id.retired.Load() {
					delete(running, id)
				}
			}
			for _, id := range is.all {
				if !running[id] {
					running[id] = true
					wg.Go(func() { a.fill(ctx, id) })
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		}
	}
}

func (a *Attester) fill(ctx context.Context, id *identity) {
	for !id.retired.Load() {
		wait := a.minting.take(a.now())
		if wait == 0 {
			id.minting.Lock()
			l, err := a.mint(ctx, id, false)
			id.minting.Unlock()
			if err == nil {
				select {
				case id.pool <- l:
				case <-id.ready:
					return
				case <-ctx.Done():
					return
				}
				continue
			}
			if ctx.Err() == nil {
				a.log.Error("no new leaf", "subject", id.subject.Name, "err", err)
			}
			wait = retrySoon
		}
		select {
		case <-time.After(wait):
		case <-id.ready:
			return
		case <-ctx.Done():
			return
		}
	}
}

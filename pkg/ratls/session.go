package ratls

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// Limits of one connection: session steps a second and at once, how long a challenge to
// the client holds, and how often the client may try to meet one.
const (
	connRate      = 1
	connBurst     = 8
	challengeLife = 2 * time.Minute
	maxAttempts   = 3
)

// challenge is what a client has to answer. It is good for one try.
type challenge struct {
	context [32]byte
	ends    time.Time
}

// Handler serves the session step on both of its paths, and everything else by next.
// Nothing reaches next from a client that showed a certificate and has not proven the
// session yet.
func (a *Attester) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := connOf(r.Context())
		switch {
		case err != nil:
			refuse(w, http.StatusInternalServerError, "not a connection of this enclave")
		case r.URL.Path == SessionPath || r.URL.Path == NeutralSessionPath:
			a.serveSession(w, r, c)
		case a.cfg.Clients != nil && c.owesProof():
			refuse(w, http.StatusForbidden, "the client has shown a certificate: it must first prove the session ("+SessionPath+")")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// owesProof reports whether the client showed a certificate and no evidence.
func (c *serverConn) owesProof() bool {
	if len(c.tls.ConnectionState().PeerCertificates) == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client == nil
}

func refuse(w http.ResponseWriter, status int, text string) {
	answer(w, status, refusal{messageVersion, text})
}

func answer(w http.ResponseWriter, status int, v any) {
	b, _ := json.Marshal(v) // strings and numbers only
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.Header().Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	w.Write(b)
}

func (a *Attester) serveSession(w http.ResponseWriter, r *http.Request, c *serverConn) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "the session step is a POST")
		return
	}
	var q request
	if err := readMessage(r.Body, &q); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if q.V != messageVersion {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("version %d: only %d is spoken here", q.V, messageVersion))
		return
	}
	switch q.Mode {
	case modePresent:
		a.servePresent(w, r, c, &q)
		return
	case modeChallenge, modeDeterministic:
	default:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("mode %.32q is not challenge, deterministic or present", q.Mode))
		return
	}
	if key, ok := decode32(q.Leaf); !ok {
		refuse(w, http.StatusBadRequest, "leaf: 32 bytes in base64url without padding are wanted")
		return
	} else if key != c.leaf.key {
		refuse(w, http.StatusNotFound, "this connection has another leaf: somebody stands between us")
		return
	}
	if c.leaf.of.retired.Load() {
		refuse(w, http.StatusNotFound, "the configuration has changed since this connection was made: make a new one")
		return
	}
	resp, status, err := a.evidence(r.Context(), c, &q)
	if err != nil {
		if errors.Is(err, errBusy) {
			a.warn("more session steps than quotes", "quotes_per_second", a.cfg.QuotesPerSecond)
		}
		refuse(w, status, err.Error())
		return
	}
	answer(w, http.StatusOK, resp)
}

var errBusy = errors.New("too many session steps: try again in a moment")

// evidence makes the answer to a challenge, or the one that all connections with the
// same leaf share.
func (a *Attester) evidence(ctx context.Context, c *serverConn, q *request) (*response, int, error) {
	now := a.now()
	resp := &response{V: messageVersion, Mode: q.Mode, TEE: teeSGX, ClientEvidence: clientEvidenceNone}
	var quote []byte
	at := now
	if q.Mode == modeDeterministic {
		var err error
		if quote, at, err = a.sharedQuote(ctx, c); err != nil {
			return nil, http.StatusServiceUnavailable, err
		}
	} else {
		context, ok := decode32(q.Context)
		if !ok {
			return nil, http.StatusBadRequest, errors.New("context: 32 bytes in base64url without padding are wanted")
		}
		state := c.tls.ConnectionState()
		hctx, err := exported(&state, serverLabel, context)
		if err != nil {
			return nil, http.StatusInternalServerError, err
		}
		if !a.mayAsk(c, now) {
			return nil, http.StatusServiceUnavailable, errBusy
		}
		if quote, err = a.quoteFor(ctx, SessionReportData(c.leaf.spki(), context, hctx)); err != nil {
			a.warn("no quote for a session", "err", err)
			return nil, http.StatusServiceUnavailable, errors.New("the quoting service is not available")
		}
	}
	resp.Quote, resp.QuoteTime = encoding.EncodeToString(quote), QuoteTime(at)
	if a.cfg.Clients != nil && c.owesProof() {
		resp.ClientEvidence = clientEvidenceRequired
		context := encoding.EncodeToString(c.newChallenge(now))
		resp.ClientContext = &context
	}
	return resp, http.StatusOK, nil
}

// mayAsk takes a session step from what this connection has, and from what all have.
func (a *Attester) mayAsk(c *serverConn, now time.Time) bool {
	return c.asking.take(now) == 0 && a.asking.take(now) == 0
}

// sharedQuote is a quote over the leaf's key and a minute: the one in the leaf, or one
// that is made once.
func (a *Attester) sharedQuote(ctx context.Context, c *serverConn) ([]byte, time.Time, error) {
	l := c.leaf
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quote == nil {
		now := a.now()
		if !a.mayAsk(c, now) {
			return nil, time.Time{}, errBusy
		}
		at := now.UTC().Truncate(time.Minute)
		quote, err := a.quoteFor(ctx, DeterministicReportData(l.spki(), at))
		if err != nil {
			a.warn("no quote for a leaf", "err", err)
			return nil, time.Time{}, errors.New("the quoting service is not available")
		}
		l.quote, l.quoted = quote, at
	}
	return l.quote, l.quoted, nil
}

func (c *serverConn) newChallenge(now time.Time) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	rand.Read(c.present.context[:]) // never fails
	c.present.ends = now.Add(challengeLife)
	return append([]byte(nil), c.present.context[:]...)
}

// takeChallenge gets the challenge that is open, which then is so no longer.
func (c *serverConn) takeChallenge(context [32]byte, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attempts++; c.attempts > maxAttempts {
		return errors.New("no further attempts on this connection")
	}
	open := c.present
	c.present = challenge{}
	if open.ends.IsZero() || open.context != context || !now.Before(open.ends) {
		return errors.New("context: not the client_context that was last given, or it is no longer good")
	}
	return nil
}

// servePresent takes the client's evidence.
func (a *Attester) servePresent(w http.ResponseWriter, r *http.Request, c *serverConn, q *request) {
	state := c.tls.ConnectionState()
	if a.cfg.Clients == nil {
		refuse(w, http.StatusNotImplemented, "this server does not ask clients for evidence")
		return
	}
	if len(state.PeerCertificates) == 0 {
		refuse(w, http.StatusForbidden, "the client has shown no certificate that evidence could be about")
		return
	}
	context, ok := decode32(q.Context)
	quote, err := encoding.DecodeString(q.Quote)
	switch {
	case !ok:
		refuse(w, http.StatusBadRequest, "context: 32 bytes in base64url without padding are wanted")
		return
	case err != nil || len(quote) == 0:
		refuse(w, http.StatusBadRequest, "quote: base64url without padding is wanted")
		return
	case q.TEE != teeSGX || q.GPUEvidence != nil:
		refuse(w, http.StatusBadRequest, "only quotes of SGX are read here")
		return
	}
	if err := c.takeChallenge(context, a.now()); err != nil {
		refuse(w, http.StatusForbidden, err.Error())
		return
	}
	hctx, err := exported(&state, clientLabel, context)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	leaf := state.PeerCertificates[0]
	result, err := a.cfg.Clients.verify(r.Context(), quote, SessionReportData(leaf.RawSubjectPublicKeyInfo, context, hctx), claims(leaf))
	if err != nil {
		a.warn("client refused", "err", err, "key", fmt.Sprintf("%x", sha256.Sum256(leaf.RawSubjectPublicKeyInfo)))
		status := http.StatusForbidden
		if e := (*attest.Error)(nil); errors.As(err, &e) && e.Step == attest.StepCollateral {
			status = http.StatusBadGateway
		}
		refuse(w, status, "the evidence was refused")
		return
	}
	c.mu.Lock()
	c.client = &Peer{cert: leaf, chain: state.PeerCertificates, result: result, proof: ProofSession}
	c.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

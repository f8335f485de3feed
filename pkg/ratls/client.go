package ratls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// Config is what a Client needs.
type Config struct {
	// Trust says which enclaves are accepted.
	Trust Trust

	// Proof is what they must prove: the session, unless ProofLeaf is said.
	Proof Proof

	// ServerName is sent as SNI, and compared with the certificate if Trust.CAs is
	// set. If empty, it is the host that is dialled.
	ServerName string

	// Attester, if not nil, is the enclave that the client itself is. Its platform's
	// leaf is shown to servers that ask for one, and the session is proven to them.
	Attester *Attester

	// Timeout bounds the handshake and the session step. Zero means DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout leaves time for a quote on slow hardware and for collateral from afar.
const DefaultTimeout = 30 * time.Second

// Client makes connections to enclaves. It is safe for concurrent use.
type Client struct{ cfg Config }

// NewClient checks the configuration.
func NewClient(cfg Config) (*Client, error) {
	if err := cfg.Trust.check(); err != nil {
		return nil, err
	}
	switch {
	case cfg.Proof != ProofSession && cfg.Proof != ProofLeaf:
		return nil, fmt.Errorf("ratls: %d is no proof", cfg.Proof)
	case cfg.Timeout < 0:
		return nil, errors.New("ratls: a timeout cannot be negative")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Client{cfg}, nil
}

// Conn is a connection to an enclave that was accepted. If the session was proven by
// the session step, the server is in the state after one HTTP/1.1 request.
type Conn struct {
	*tls.Conn
	peer *Peer
}

// Peer is who is at the other end.
func (c *Conn) Peer() *Peer { return c.peer }

// clientConn is what lies below the tls.Conn of a client.
type clientConn struct {
	net.Conn
	peer *Peer // set before anybody gets the tls.Conn
	mine *leaf // what this side has shown, if the server asked
}

// Dial connects to addr and returns once the enclave there has proven what Config.Proof
// says. The error is a *RefusedError if it has not.
func (c *Client) Dial(ctx context.Context, network, addr string) (*Conn, error) {
	t, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &Conn{t, peerOf(t)}, nil
}

func peerOf(t *tls.Conn) *Peer {
	if c, ok := t.NetConn().(*clientConn); ok {
		return c.peer
	}
	return nil
}

func (c *Client) dial(ctx context.Context, network, addr string) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("ratls: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("ratls: %w", err)
	}
	t, err := c.handshake(ctx, raw, host)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return t, nil
}

// Handshake makes raw a connection to an enclave, which has then proven what
// Config.Proof says, or closes it. host is the server's name if Config has none.
func (c *Client) Handshake(ctx context.Context, raw net.Conn, host string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	t, err := c.handshake(ctx, raw, host)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &Conn{t, peerOf(t)}, nil
}

func (c *Client) handshake(ctx context.Context, raw net.Conn, host string) (*tls.Conn, error) {
	if c.cfg.ServerName != "" {
		host = c.cfg.ServerName
	}
	under := &clientConn{Conn: raw}
	var evidence *attest.Result // in the leaf
	config := c.tlsConfig(ctx, host, func(r *attest.Result) { evidence = r }, func(l *leaf) { under.mine = l })
	config.NextProtos = []string{"http/1.1"}
	t := tls.Client(under, config)
	if err := t.HandshakeContext(ctx); err != nil {
		if e := (*RefusedError)(nil); errors.As(err, &e) {
			return nil, e // without the words of crypto/tls around it
		}
		return nil, fmt.Errorf("ratls: %w", err)
	}
	state := t.ConnectionState()
	peer := &Peer{cert: state.PeerCertificates[0], chain: state.PeerCertificates, result: evidence, proof: ProofLeaf}
	if c.cfg.Proof == ProofSession {
		if deadline, ok := ctx.Deadline(); ok {
			t.SetDeadline(deadline)
		}
		stop := context.AfterFunc(ctx, func() { t.SetDeadline(time.Unix(1, 0)) })
		result, err := c.askSession(ctx, t, host, evidence)
		if !stop() {
			err = errors.Join(err, ctx.Err())
		}
		if err != nil {
			return nil, &RefusedError{peer.chain, result, err}
		}
		if err := t.SetDeadline(time.Time{}); err != nil {
			return nil, fmt.Errorf("ratls: %w", err)
		}
		peer.result, peer.proof = result, ProofSession
	}
	if peer.result == nil {
		return nil, &RefusedError{peer.chain, nil, errors.New("nothing was proven")}
	}
	under.peer = peer
	return t, nil
}

// tlsConfig is a configuration whose handshake checks all that a leaf can prove. It
// tells found what was found out about the evidence in it, and shown which leaf of its
// own the client has shown.
func (c *Client) tlsConfig(ctx context.Context, host string, found func(*attest.Result), shown func(*leaf)) *tls.Config {
	config := &tls.Config{
		ServerName:         host,
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // the chain proves nothing: VerifyConnection checks everything
		Time:               c.cfg.Trust.now,
	}
	config.VerifyConnection = func(s tls.ConnectionState) error {
		r, err := c.checkServer(ctx, &s, host)
		found(r)
		return err
	}
	if a := c.cfg.Attester; a != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			l, err := a.clientLeaf(ctx)
			if err != nil {
				return nil, err
			}
			shown(l)
			return l.cert, nil
		}
	}
	return config
}

// checkServer checks a server by its certificate.
func (c *Client) checkServer(ctx context.Context, s *tls.ConnectionState, host string) (*attest.Result, error) {
	if err := checkState(s); err != nil {
		return nil, &RefusedError{Err: err}
	}
	leaf := s.PeerCertificates[0]
	if c.cfg.Trust.CAs != nil {
		if err := leaf.VerifyHostname(host); err != nil {
			return nil, &RefusedError{s.PeerCertificates, nil, &attest.Error{Step: StepChain, What: "the certificate is for another name", Err: err}}
		}
	}
	r, err := c.cfg.Trust.checkLeaf(ctx, s.PeerCertificates, serverLeg)
	if err != nil {
		return r, err
	}
	if r == nil && c.cfg.Proof == ProofLeaf {
		return nil, &RefusedError{s.PeerCertificates, nil, errNoEvidence()}
	}
	return r, nil
}

// TLSConfig is for programs that make their connections by other means. A tls.Config
// can check a certificate and cannot do the session step, so there is none unless
// Config.Proof is ProofLeaf. serverName is the name of the server if Config has none.
func (c *Client) TLSConfig(serverName string) (*tls.Config, error) {
	if c.cfg.Proof != ProofLeaf {
		return nil, errors.New("ratls: a tls.Config cannot have the session proven: use Dial or Transport, or be content with ProofLeaf")
	}
	if c.cfg.ServerName != "" {
		serverName = c.cfg.ServerName
	}
	return c.tlsConfig(context.Background(), serverName, func(*attest.Result) {}, func(*leaf) {}), nil
}

// VerifyCertificate checks a certificate at rest, with the chain that came with it. What
// it finds is ProofCertificate: an enclave that is accepted made the key, and the claims
// are statements of the certificate's CA. The error is a *RefusedError if it is not so,
// and names the form of evidence that is not ours.
func VerifyCertificate(ctx context.Context, chain []*x509.Certificate, t Trust) (*Peer, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if len(chain) == 0 {
		return nil, errors.New("ratls: no certificate")
	}
	r, err := t.checkLeaf(ctx, chain, serverLeg)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, &RefusedError{chain, nil, errNoEvidence()}
	}
	return &Peer{chain[0], chain, r, ProofCertificate}, nil
}

func errNoEvidence() error {
	return &attest.Error{
		Step: StepEvidence, What: "the certificate has no evidence", Want: OIDQuote.String() + " (" + OIDName(OIDQuote) + ")",
		Hint: "the server may offer the session step, which is what a client asks for by default",
	}
}

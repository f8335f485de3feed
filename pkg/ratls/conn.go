package ratls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
)

// gatewayMarker is the ALPN name by which a client of Enclave OS asks gateways to let
// the connection through. It is no protocol: next to it stands "http/1.1".
const gatewayMarker = "privasys-ratls/1"

// tlsConfigs are the configurations for the protocols that a client may get.
type tlsConfigs struct{ all, http1, http2, none *tls.Config }

func (a *Attester) newTLSConfigs() tlsConfigs {
	with := func(protos ...string) *tls.Config {
		c := &tls.Config{
			MinVersion:             tls.VersionTLS13,
			NextProtos:             protos,
			GetCertificate:         a.getCertificate,
			SessionTicketsDisabled: true, // each connection has a handshake that shows a leaf
			Time:                   a.now,
		}
		switch {
		case a.cfg.RequireClient:
			c.ClientAuth = tls.RequireAnyClientCert
		case a.cfg.Clients != nil:
			c.ClientAuth = tls.RequestClientCert
		}
		return c
	}
	return tlsConfigs{with("h2", "http/1.1"), with("http/1.1"), with("h2"), with()}
}

// choose finds the configuration for the protocols that a client offers. Whoever offers
// the marker gets HTTP/1.1 if that is offered as well. Whoever offers nothing that is
// spoken here is let in without a choice, and gets HTTP/1.1, as from Enclave OS.
func (t *tlsConfigs) choose(protos []string) *tls.Config {
	h1, h2 := slices.Contains(protos, "http/1.1"), slices.Contains(protos, "h2")
	switch marked := slices.Contains(protos, gatewayMarker); {
	case !h1 && !h2:
		return t.none
	case h1 && (marked || !h2):
		return t.http1
	case !h1:
		return t.http2
	}
	return t.all
}

// serverConn is what lies below the tls.Conn of a server. It remembers what belongs to
// this connection, and goes when the connection goes.
type serverConn struct {
	net.Conn
	tls  *tls.Conn
	leaf *leaf // what the client was shown

	mu       sync.Mutex
	asking   *bucket // session steps of this connection
	client   *Peer   // set when the client has proven the session
	present  challenge
	attempts int // at presenting
}

// Handshake makes raw a TLS connection of this enclave, or fails and closes it. The
// caller bounds the time by ctx. An HTTP server gets the connection together with
// ConnContext, and its handlers wrapped by Handler.
func (a *Attester) Handshake(ctx context.Context, raw net.Conn) (*tls.Conn, error) {
	c := &serverConn{Conn: raw, asking: newBucket(connRate, connBurst)}
	c.tls = tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return a.configFor(c, hello)
		},
	})
	if err := c.tls.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return c.tls, nil
}

func (a *Attester) configFor(c *serverConn, hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config := a.tls.choose(hello.SupportedProtos)
	if a.cfg.Clients == nil {
		return config, nil
	}
	config = config.Clone()
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil // ClientAuth has decided whether that may be
		}
		_, err := a.cfg.Clients.checkLeaf(hello.Context(), s.PeerCertificates, clientLeg)
		return err
	}
	return config, nil
}

// getCertificate chooses the leaf of a connection that Handshake makes.
func (a *Attester) getCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, ok := hello.Conn.(*serverConn)
	if !ok {
		return nil, errors.New("ratls: not a connection of Attester.Handshake")
	}
	for {
		is := a.state.Load()
		if is == nil {
			return nil, errors.New("ratls: the enclave has no identity yet")
		}
		l, err := a.take(hello.Context(), is.choose(hello.ServerName))
		if errors.Is(err, errRetired) {
			continue // there are new identities
		}
		if err != nil {
			return nil, err
		}
		c.leaf = l
		return l.cert, nil
	}
}

type contextKey int

const (
	connKey contextKey = iota
	peerKey
)

// ConnContext is for http.Server.ConnContext.
func (a *Attester) ConnContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		if sc, ok := t.NetConn().(*serverConn); ok {
			return context.WithValue(ctx, connKey, sc)
		}
	}
	return ctx
}

func connOf(ctx context.Context) (*serverConn, error) {
	c, ok := ctx.Value(connKey).(*serverConn)
	if !ok {
		return nil, fmt.Errorf("ratls: the request's context is not from Attester.ConnContext")
	}
	return c, nil
}

// PeerOf tells who sent the request of ctx: the enclave that the client has proven to
// be. There is none if the client showed no certificate.
func PeerOf(ctx context.Context) (*Peer, bool) {
	c, err := connOf(ctx)
	if err != nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client, c.client != nil
}

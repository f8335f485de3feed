// Package ratls is TLS whose server, and if wished whose client, proves to be an
// enclave: RA-TLS. Both ends are the stock crypto/tls.
//
// A client says whom it accepts, and gets a connection to such an enclave or an error:
//
//	client, err := ratls.NewClient(ratls.Config{Trust: ratls.Trust{Verifier: v, Policy: p, Collateral: c}})
//	conn, err := client.Dial(ctx, "tcp", "enclave.example:8443")  // or client.Transport() for net/http
//
// There is no way to a connection around the check. What was verified is conn.Peer().
// A server is an Attester, which makes the keys, quotes and leaf certificates, and
// package ingress, which listens.
//
// # What is proven
//
// Evidence comes in one of two places or in both, and they prove different things.
//
// Evidence in the leaf (EvidenceLeaf, ProofLeaf): the certificate has a quote whose
// report data is a hash of the certificate's key and of the minute of its NotBefore.
// TLS shows that the peer has the private key. So: an enclave that the policy accepts
// made this key, at about that minute, and somebody who has the key is at the other
// end. That this is still the enclave follows only if no key ever left it. A key that
// was once got out of an enclave, on any machine, impersonates it until the quote is
// too old, and there is no sign of it: the quote is the same for everybody.
//
// Evidence in the session (EvidenceSession, ProofSession, the default of a client): after the
// handshake the client sends a challenge through the connection and gets a quote whose
// report data is a hash of the server's key, the challenge, and a value that the TLS
// exporter derives for this connection alone from its secrets. So: an enclave that the
// policy accepts has, now, the secrets of this very connection. Somebody in the middle
// ends two connections, which have different secrets, and so can neither pass on the
// challenge, nor an old answer, nor an answer to another client (relay, replay), nor
// what the client itself answered (reflection: the other direction has another label).
// A stolen key does not help him.
//
// A mode with the quote in the leaf offers the session step as well. The certificate's
// chain proves neither: it may lead to an operator's CA, which a client can ask for in
// addition (Trust.CAs), or to a CA that the enclave made for itself. The claims in a
// leaf (the extensions below Arc) are the enclave's own statements in a live
// connection, whoever's CA signed them, because the handshake is signed with the key
// that the quote vouches for, and covers the certificate. Of a certificate in a file
// they are statements of its CA.
//
// # Formats
//
// The report data in deterministic mode and the session step, on SessionPath, have the
// formats of Enclave OS RA-TLS version 1 and 2. A leaf that several connections share
// carries its evidence a second time in the form that Gramine, the Intel SGX SDK and
// RATS-TLS agreed on: see DICE.
package ratls

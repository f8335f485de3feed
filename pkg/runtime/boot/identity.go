package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// The sections of the sealed configuration that are the core's.
const (
	sectionCACert   = "ca-cert"             // PEM, the intermediary first
	sectionCAKey    = "ca-key"              // PEM
	sectionOperator = "operator"            // SHA-256 of the token
	sectionServers  = "attestation-servers" // JSON
	sectionEgress   = "egress-cas"          // certificates, DER
)

// Sealed is the sealed configuration, what an enclave has been told once: *seal.State.
//
// Whether there is one only the host knows. A host that hides it gets a new enclave with
// a CA and an operator of its choice, which is another one to all who look at those
// leaves, and without any data.
type Sealed interface {
	// Sections returns it.
	Sections() map[string][]byte
	// Update changes and seals it; if it fails, nothing has changed.
	Update(ctx context.Context, change func(sections map[string][]byte) error) error
}

// caName is the name of a CA that the enclave makes for itself.
const caName = "Enclave OS self-made CA"

// told is what the host says of CA and operator; nil: nothing.
func told(config *start.Config) (ca *ratls.CA, operator []byte, err error) {
	if operator, err = start.ParseOperator(config.Operator); err != nil || config.CA == nil {
		return nil, operator, err
	}
	if ca, err = ratls.ParseCA([]byte(config.CA.Chain), []byte(config.CA.Key)); err != nil {
		return nil, nil, err
	}
	return ca, operator, checkDates(ca, time.Now())
}

// newIdentity takes CA and operator from the host, at the first start.
func newIdentity(config *start.Config, sections map[string][]byte) error {
	ca, operator, err := told(config)
	if err != nil {
		return err
	}
	if ca == nil {
		if ca, err = ratls.NewSelfMade(caName, time.Now()); err != nil {
			return err
		}
	}
	if operator != nil {
		sections[sectionOperator] = operator
	}
	if config.EgressCAs != nil {
		sections[sectionEgress] = config.EgressCAs
	}
	return putCA(sections, ca)
}

// identify takes CA and operator as they have been sealed. The host may say the same
// things again, but nothing else.
func (r *Runtime) identify(ctx context.Context) error {
	given, operator, err := told(r.config)
	if err != nil {
		return err
	}
	s := r.sealed.Sections()
	if s[sectionCACert] == nil {
		// Runtimes before this one sealed them in a second step, which a crash could
		// cut off. Who says nothing now shall not be locked out for ever.
		if operator == nil {
			return errors.New("the first start of this state was cut off before an operator was sealed: give --operator-token FILE, or begin anew with another --state: nothing is lost")
		}
		if err := r.sealed.Update(ctx, func(s map[string][]byte) error { return newIdentity(r.config, s) }); err != nil {
			return err
		}
		s = r.sealed.Sections()
	}
	if r.ca, err = ratls.ParseCA(s[sectionCACert], s[sectionCAKey]); err != nil {
		return fmt.Errorf("sealed configuration: %w", err)
	}
	if h := s[sectionOperator]; h != nil && len(h) != 32 {
		return errors.New("sealed configuration: the hash of the operator's token is none")
	}
	r.operator = s[sectionOperator]
	if r.egress, err = start.ParseAuthorities(s[sectionEgress]); err != nil {
		return fmt.Errorf("sealed configuration: %w", err)
	}
	if text := s[sectionServers]; text != nil {
		if err := json.Unmarshal(text, &r.servers); err != nil {
			return fmt.Errorf("sealed configuration: attestation servers: %w", err)
		}
	}
	if err := checkDates(r.ca, time.Now()); err != nil && given == nil {
		// Without any leaf not even the operator could come and replace it.
		r.log.Warn("the CA is of no use: until the operator replaces it, certificates are of one that this enclave makes for itself", "error", err)
		r.ca, err = ratls.NewSelfMade(caName, time.Now())
		if err != nil {
			return err
		}
	}
	switch {
	case given != nil && given.Hash() != r.ca.Hash():
		return errors.New("this enclave has a CA from its first start, and --ca-cert names another: start without it; the operator may replace it (eos ca rotate)")
	case operator != nil && r.operator == nil:
		return errors.New("this enclave was first started without an operator, and can be given none later: a new --state begins anew")
	case operator != nil && !bytes.Equal(operator, r.operator):
		return errors.New("this enclave has an operator from its first start, and --operator-token is another's: start with that one or without it")
	case r.config.EgressCAs != nil && !bytes.Equal(r.config.EgressCAs, s[sectionEgress]):
		return errors.New("whom apps trust outside is sealed at the first start, and --egress-ca names others: start without it; a new --state begins anew")
	}
	return nil
}

// checkDates refuses a CA that can sign nothing now, by the host's clock.
func checkDates(ca *ratls.CA, now time.Time) error {
	if c := ca.Certificate(); now.Before(c.NotBefore) || !now.Before(c.NotAfter) {
		return fmt.Errorf("the CA %q is valid from %s to %s, and it is %s", c.Subject,
			c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func putCA(sections map[string][]byte, ca *ratls.CA) error {
	key, err := ca.KeyPEM()
	if err != nil {
		return err
	}
	sections[sectionCACert], sections[sectionCAKey] = ca.CertificatePEM(), key
	return nil
}

// setCA replaces the CA: sealed first, then in the configuration and in all leaves from
// now on.
func (r *Runtime) setCA(ctx context.Context, ca *ratls.CA) error {
	r.telling.Lock()
	defer r.telling.Unlock()
	if err := r.sealed.Update(ctx, func(s map[string][]byte) error { return putCA(s, ca) }); err != nil {
		return err
	}
	r.mu.Lock()
	r.ca = ca
	r.mu.Unlock()
	if err := r.attester.SetCA(ca); err != nil {
		return err
	}
	return r.changed()
}

// setServers replaces the attestation servers.
func (r *Runtime) setServers(ctx context.Context, servers []server) error {
	r.telling.Lock()
	defer r.telling.Unlock()
	text, err := json.Marshal(servers)
	if err != nil {
		return err
	}
	if err := r.sealed.Update(ctx, func(s map[string][]byte) error { s[sectionServers] = text; return nil }); err != nil {
		return err
	}
	r.mu.Lock()
	r.servers = servers
	r.mu.Unlock()
	return r.changed()
}

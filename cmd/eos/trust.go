package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/collateral"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/quoting"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
	"github.com/spf13/cobra"
)

// trustFlags say which enclaves a client accepts. All verbs that talk to one have
// the same.
type trustFlags struct {
	policy     string
	mrenclave  []string
	mrsigner   []string
	allowDebug bool
	roots      []string
	software   bool
	stateDir   string
	collateral string
	pccs       []string
	maxAge     string
	cas        string
}

func (f *trustFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.policy, "policy", "", "`FILE` with everything that is accepted, as JSON")
	fl.StringArrayVar(&f.mrenclave, "mrenclave", nil, "accept this measurement: 64 hex digits or an `IMAGE`; can be repeated")
	fl.StringArrayVar(&f.mrsigner, "mrsigner", nil, "accept this signer: 64 hex digits, a `KEY` or a SIGSTRUCT; can be repeated")
	fl.BoolVar(&f.allowDebug, "allow-debug", false, "accept debug enclaves, whose memory the host can read")
	fl.StringArrayVar(&f.roots, "root", nil, "accept platforms of this root too: a certificate `FILE`; can be repeated")
	fl.BoolVar(&f.software, "allow-software-platform", false, "accept this machine's software platform, which protects nothing from its host")
	fl.StringVar(&f.stateDir, "platform-dir", "", "`DIR` of the software platform's keys (default: $XDG_STATE_HOME/eos)")
	fl.StringVar(&f.collateral, "collateral", "", "`FILE` with what the platform's vendor says about it, for use without a network")
	fl.StringArrayVar(&f.pccs, "pccs", nil, "ask this service what the platform's vendor says about it: a `URL`, or 'intel' for Intel's own; can be repeated, the next is asked if one fails or is stale")
	fl.StringVar(&f.maxAge, "max-collateral-age", "7d", "refuse the vendor's statements if they were made longer ago than this `TIME`")
	fl.StringVar(&f.cas, "ca", "", "also want the certificate to be issued by this CA, for this name: a `FILE`")
	completeFlagFiles(cmd, "policy", "json")
	completeFlagFiles(cmd, "root", "pem", "crt")
	completeFlagFiles(cmd, "ca", "pem", "crt")
	completeFlagFiles(cmd, "collateral", "json")
}

// given reports whether any of the flags was.
func (f *trustFlags) given() bool {
	return f.policy != "" || len(f.mrenclave)+len(f.mrsigner)+len(f.roots) > 0 || f.allowDebug || f.software || f.stateDir != "" || f.collateral != "" || len(f.pccs) > 0 || f.cas != ""
}

// trust is whom to trust. url is the server's, or "" for evidence at rest.
func (f *trustFlags) trust(u *ui, url string) (ratls.Trust, error) {
	t := ratls.Trust{Verifier: &attest.Verifier{Roots: attest.IntelRoots()}}
	var err error
	if t.Verifier.MaxCollateralAge, err = parseDays("max-collateral-age", f.maxAge); err != nil {
		return t, err
	}
	var quoter *quoting.Quoter
	if f.software {
		if quoter, err = f.platform(); err != nil {
			return t, err
		}
		if err := f.addRoot(t.Verifier.Roots, "--allow-software-platform", quoter.Root()); err != nil {
			return t, err
		}
		u.warn("the software platform is accepted: its enclaves have no secrets from its host")
	}
	for _, path := range f.roots {
		chain, err := loadCertificates(path)
		if err != nil {
			return t, err
		}
		for _, c := range chain {
			if err := f.addRoot(t.Verifier.Roots, path, c); err != nil {
				return t, err
			}
		}
	}
	if f.cas != "" {
		chain, err := loadCertificates(f.cas)
		if err != nil {
			return t, err
		}
		t.CAs = x509.NewCertPool()
		for _, c := range chain {
			t.CAs.AddCert(c)
		}
	}
	if t.Policy, err = f.loadPolicy(u); err != nil {
		return t, err
	}
	services, err := f.services(u, t.Verifier.MaxCollateralAge)
	if err != nil {
		return t, err
	}
	t.Collateral, err = f.source(url, quoter, services)
	return t, err
}

// platform is the quoting enclave of this machine's software platform.
func (f *trustFlags) platform() (*quoting.Quoter, error) {
	return openQuoting(&platformFlags{dir: f.stateDir})
}

func (f *trustFlags) addRoot(roots *attest.Roots, from string, c *x509.Certificate) error {
	if !c.IsCA || c.CheckSignatureFrom(c) != nil {
		return withHint(fmt.Errorf("%s: %q is not the certificate of a root: it has not signed itself", from, c.Subject.CommonName),
			"--root names the end of a platform's chain of certificates")
	}
	name := c.Subject.CommonName
	err := roots.Add(name, c)
	if err != nil && name == attest.IntelRootName {
		return withHint(fmt.Errorf("%s: the root calls itself %q, and its key is not Intel's", from, name), "Intel's own root is accepted anyway")
	}
	if err != nil { // two machines' roots have one name; a policy can tell them apart
		key := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		err = roots.Add(fmt.Sprintf("%s %x", name, key[:8]), c)
	}
	return err
}

// loadPolicy is the policy of --policy, or what the other flags say. It accepts
// nothing if nothing was said.
func (f *trustFlags) loadPolicy(u *ui) (attest.Policy, error) {
	if f.policy != "" {
		if len(f.mrenclave)+len(f.mrsigner) > 0 || f.allowDebug {
			return attest.Policy{}, withHint(usagef("--policy says everything; --mrenclave, --mrsigner and --allow-debug stand for a policy without a file"), "put them into %s", f.policy)
		}
		b, err := readLimited(f.policy, 1<<20)
		if err != nil {
			return attest.Policy{}, err
		}
		p, err := attest.ParsePolicy(b)
		if err != nil {
			return attest.Policy{}, fmt.Errorf("%s: %w", f.policy, err)
		}
		return p, nil
	}
	if len(f.mrenclave)+len(f.mrsigner) == 0 {
		return attest.Policy{}, nil
	}
	p := attest.SGXPolicy{
		MREnclave: attest.Any[sgx.Measurement](), MRSigner: attest.Any[sgx.Measurement](),
		ISVProdID: attest.Any[uint16](), MinISVSVN: attest.AtLeast(0), Attributes: attest.AnyAttributes(), AllowDebug: f.allowDebug,
	}
	var err error
	if len(f.mrenclave) > 0 {
		if p.MREnclave, err = measurements(f.mrenclave, func(path string) (sgx.Measurement, error) { return measureFile(u, path) }); err != nil {
			return attest.Policy{}, err
		}
	}
	if len(f.mrsigner) > 0 {
		if p.MRSigner, err = measurements(f.mrsigner, signerOf); err != nil {
			return attest.Policy{}, err
		}
	}
	return attest.Policy{
		Roots: attest.Any[string](), // of those that are accepted at all
		SGX:   &p,
		TCB:   []attest.TCBRule{{Status: attest.UpToDate, Advisories: attest.Any[string](), Until: attest.Forever()}},
	}, nil
}

// measurements reads hex digits, or else files.
func measurements(words []string, file func(path string) (sgx.Measurement, error)) (attest.Criterion[sgx.Measurement], error) {
	var all []sgx.Measurement
	for _, w := range words {
		var m sgx.Measurement
		if b, err := hex.DecodeString(w); err == nil && len(b) == len(m) {
			copy(m[:], b)
		} else if _, err := os.Stat(w); err != nil {
			return attest.Criterion[sgx.Measurement]{}, usagef("%q is neither 64 hex digits nor a file", w)
		} else if m, err = file(w); err != nil {
			return attest.Criterion[sgx.Measurement]{}, err
		}
		all = append(all, m)
	}
	return attest.OneOf(all...), nil
}

// signerOf is the MRSIGNER of a SIGSTRUCT's key, or of a key.
func signerOf(path string) (sgx.Measurement, error) {
	if fi, err := os.Stat(path); err == nil && fi.Size() == sgx.SigStructSize {
		if s, err := loadSigStruct(path); err == nil {
			return s.MRSigner(), sign.Verify(s)
		}
	}
	pub, err := keyref.LoadPublic(path)
	if err != nil {
		return sgx.Measurement{}, err
	}
	return sign.MRSigner(pub)
}

// collateralPath is where an enclave of eos hands on what its host has of the
// vendor's statements. They are signed, so it does not matter who hands them on.
const collateralPath = "/.well-known/eos/collateral"

// source finds collateral: in the file, at a service, at the server itself, on this
// machine.
func (f *trustFlags) source(url string, quoter *quoting.Quoter, services *collateral.Client) (func(context.Context, *attest.Quote) (*attest.Collateral, error), error) {
	if f.collateral != "" {
		b, err := readLimited(f.collateral, attest.MaxCollateralSize)
		if err != nil {
			return nil, err
		}
		c, err := attest.ParseCollateral(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.collateral, err)
		}
		return func(context.Context, *attest.Quote) (*attest.Collateral, error) { return c, nil }, nil
	}
	return func(ctx context.Context, q *attest.Quote) (*attest.Collateral, error) {
		var errs error
		if services != nil {
			c, err := services.For(ctx, q)
			if err == nil {
				return c, nil
			}
			errs = err
		}
		if url != "" {
			c, err := fetchCollateral(ctx, url)
			if err == nil {
				return c, nil
			}
			errs = errors.Join(errs, err)
		}
		if quoter != nil {
			c, err := quoter.Collateral()
			if err == nil {
				return c, nil
			}
			errs = errors.Join(errs, err)
		}
		if errs == nil {
			errs = errors.New("none was given: name a bundle by --collateral FILE, or a service by --pccs URL")
		}
		return nil, errs
	}, nil
}

// fetchCollateral asks the server. The connection proves nothing and need not: the
// documents are signed.
func fetchCollateral(ctx context.Context, url string) (*attest.Collateral, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+collateralPath, nil)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("collateral from the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("collateral from the server: %s", oneLine(resp.Status))
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, attest.MaxCollateralSize+1))
	if err != nil {
		return nil, fmt.Errorf("collateral from the server: %w", err)
	}
	return attest.ParseCollateral(b)
}

// loadCertificates reads a file of certificates.
func loadCertificates(path string) ([]*x509.Certificate, error) {
	b, err := readLimited(path, 1<<20)
	if err != nil {
		return nil, err
	}
	return parseCertificates(path, b)
}

// parseCertificates reads a chain: PEM, or one certificate as DER.
func parseCertificates(path string, b []byte) ([]*x509.Certificate, error) {
	if bytes.HasPrefix(b, []byte{0x30}) {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return []*x509.Certificate{c}, nil
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, fmt.Errorf("%s is not a file of certificates", path)
	}
	var chain []*x509.Certificate
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s has no certificate that can be read", path)
	}
	return chain, nil
}

// parseDays is a duration that may be in days; 0 if s is empty.
func parseDays(flag, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, usagef("--%s %s: want a time such as 7d or 12h", flag, s)
	}
	return d, nil
}

// readLimited reads a file that is not to have more than most bytes.
func readLimited(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %s", path, humanSize(uint64(most)))
	}
	return b, nil
}

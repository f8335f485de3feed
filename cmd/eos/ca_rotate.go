package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/wall/start"
	"github.com/spf13/cobra"
)

func caRotateCmd(u *ui) *cobra.Command {
	var (
		trust                   trustFlags
		caCert, caKey, operator string
	)
	cmd := &cobra.Command{
		Use:   "rotate --ca-cert FILE --ca-key FILE --operator-token FILE [TRUST FLAGS] https://HOST:PORT",
		Short: "give another intermediary to an enclave that runs",
		Long: `Give another intermediary CA to an enclave that runs. It is verified first, as by eos
verify: a key is sent to nothing else. From the answer on all new connections see
certificates of the new CA, and its hash in the attested configuration.`,
		Args: positional(1, "https://HOST:PORT"),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, f := range [][2]string{{"ca-cert", caCert}, {"ca-key", caKey}, {"operator-token", operator}} {
				if f[1] == "" {
					return usagef("eos ca rotate: --%s is missing", f[0])
				}
			}
			base, err := url.Parse(args[0])
			if err != nil || base.Scheme != "https" || base.Host == "" || strings.Trim(base.Path, "/") != "" {
				return usagef("%q is not https://HOST:PORT", args[0])
			}
			ca, err := loadCA(u, caCert, caKey)
			if err != nil {
				return err
			}
			token, err := readToken(operator)
			if err != nil {
				return err
			}
			t, err := trust.trust(u, args[0])
			if err != nil {
				return err
			}
			client, err := ratls.NewClient(ratls.Config{Trust: t})
			if err != nil {
				return err
			}
			key, err := ca.KeyPEM()
			if err != nil {
				return err
			}
			body, err := json.Marshal(start.CA{Chain: string(ca.CertificatePEM()), Key: string(key)})
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			if err := put(ctx, client.Transport(), "https://"+base.Host+"/ca", token, body); err != nil {
				return err
			}
			hash := ca.Hash()
			return u.facts("intermediary", caCert, "SHA-256", fmt.Sprintf("%x", hash), "enclave", args[0])
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&caCert, "ca-cert", "", "`FILE` with the certificate of the new intermediary CA")
	fl.StringVar(&caKey, "ca-key", "", "`FILE` with the key of the new intermediary CA")
	fl.StringVar(&operator, "operator-token", "", "`FILE` of the operator's token")
	trust.add(cmd)
	return cmd
}

// put sends a document as the operator; an answer that is not 200 is an error.
func put(ctx context.Context, t http.RoundTripper, url, token string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) != nil || said.Error == "" {
		said.Error = resp.Status
	}
	return errors.New("the enclave refuses: " + oneLine(said.Error))
}

package edptool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

const vectors = "../../../testdata/vectors/edp"

type signRunResult struct {
	code        int
	out, errout string
}

func runSign(args ...string) signRunResult {
	var out, errout bytes.Buffer
	code := Run("sgxs-sign", args, strings.NewReader(""), &out, &errout)
	return signRunResult{code, out.String(), errout.String()}
}

// panicMessage takes a Rust panic apart.
var panicMessage = regexp.MustCompile("(?s)^\nthread 'main' \\(\\d+\\) panicked at [^\n]+:\n(.*)\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n$")

// TestSignManifest runs what the real sgxs-sign was run with, and wants its
// output, bytes, messages and exit codes.
func TestSignManifest(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(vectors, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var runs []struct {
		ID, Dir        string
		Argv           []string
		RC             int
		Stdout, Stderr string
		Outputs        map[string]struct {
			SHA256 string
		}
	}
	if err := json.Unmarshal(b, &runs); err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs(vectors)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range runs {
		if r.Argv[0] != "sgxs-sign" {
			continue
		}
		seen++
		t.Run(r.ID, func(t *testing.T) {
			t.Chdir(t.TempDir())
			args := r.Argv[1:]
			for i, a := range args {
				if _, err := os.Stat(filepath.Join(abs, r.Dir, a)); err == nil && i != len(args)-1 {
					args[i] = filepath.Join(abs, r.Dir, a)
				}
			}
			got := runSign(args...)
			if got.code != r.RC || got.out != r.Stdout {
				t.Errorf("exit %d, stdout %q; want %d, %q; stderr %s", got.code, got.out, r.RC, r.Stdout, got.errout)
			}
			if m := panicMessage.FindStringSubmatch(r.Stderr); m != nil {
				if g := panicMessage.FindStringSubmatch(got.errout); g == nil || g[1] != m[1] {
					t.Errorf("stderr %q, want %q", got.errout, r.Stderr)
				}
			} else if got.errout != r.Stderr {
				t.Errorf("stderr %q, want %q", got.errout, r.Stderr)
			}
			files, err := os.ReadDir(".")
			if err != nil || len(files) != len(r.Outputs) {
				t.Errorf("files %v, %v, want %v", files, err, r.Outputs)
			}
			for name, want := range r.Outputs {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if h := sha256.Sum256(b); hex.EncodeToString(h[:]) != want.SHA256 {
					t.Errorf("%s differs from the golden file", name)
				}
			}
		})
	}
	if seen < 9 {
		t.Errorf("%d runs of sgxs-sign in the manifest", seen)
	}
}

func signKeyPath(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join(vectors, "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const someHash = "C50673624A6CB17C1C6C2A4E6906F47A170c4629b8723781d1017ef376f1a75d"

func readSig(t *testing.T, path string) *sgx.SigStruct {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sgx.ParseSigStruct(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign.Verify(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSignFields holds the command line against the fields, options anywhere
// and in each of clap's forms.
func TestSignFields(t *testing.T) {
	key := signKeyPath(t, "key1.pem")
	t.Chdir(t.TempDir())
	today := sign.DateOf(time.Now())
	for _, c := range []struct {
		args string
		want func(*sgx.SigStruct)
		out  string
	}{
		{"HASH o -k KEY --in-hash", func(*sgx.SigStruct) {}, ""},
		{"--in-hash HASH -kKEY o", func(*sgx.SigStruct) {}, ""},
		{"HASH --in-hash --key=KEY -- o", func(*sgx.SigStruct) {}, ""},
		{"HASH -dk KEY --in-hash o", func(s *sgx.SigStruct) { s.Attributes.Flags = 6 }, ""},
		{"HASH -dk=KEY --in-hash o", func(s *sgx.SigStruct) { s.Attributes.Flags = 6 }, ""},
		{"HASH o -k KEY --in-hash -d -a 0x4/0", func(s *sgx.SigStruct) {
			s.Attributes.Flags, s.AttributeMask.Flags = 6, ^sgx.AttrDebug
		}, ""},
		{"HASH o -k KEY --in-hash -a 0x4/0 --debug", func(s *sgx.SigStruct) {
			s.Attributes.Flags, s.AttributeMask.Flags = 6, ^sgx.AttrDebug
		}, ""},
		{"HASH o -k KEY --in-hash --32 -a 0xF7", func(s *sgx.SigStruct) {
			s.Attributes.Flags, s.AttributeMask.Flags = 0xf3, ^sgx.AttrFlags(0xf3)
		}, ""},
		{"HASH o -k KEY --in-hash -a 0x404/2", func(s *sgx.SigStruct) {}, "WARNING: Dropping unknown bits in input ATTRIBUTES!\n"},
		{"HASH o -k KEY --in-hash -a 4/0xffffffffffffffff", func(s *sgx.SigStruct) { s.AttributeMask.Flags = 0 }, ""},
		{"HASH o -k KEY --in-hash -m 3", func(s *sgx.SigStruct) {
			s.MiscSelect, s.MiscMask = 1, ^uint32(3)
		}, "WARNING: Dropping unknown bits in input MISCSELECT!\n"},
		{"HASH o -k KEY --in-hash -m 2/1 -a 0x804/2", func(s *sgx.SigStruct) { s.MiscMask = ^uint32(1) },
			"WARNING: Dropping unknown bits in input MISCSELECT!\nWARNING: Dropping unknown bits in input ATTRIBUTES!\n"},
		{"HASH o -k KEY --in-hash -x 0xffffffffffffffff/0", func(s *sgx.SigStruct) {
			s.Attributes.XFRM, s.AttributeMask.XFRM = ^sgx.XFRM(0), ^sgx.XFRM(0)
		}, ""},
		{"HASH o -k KEY --in-hash -p 65535 -v 0xffff -s 4294967295", func(s *sgx.SigStruct) {
			s.ISVProdID, s.ISVSVN, s.SWDefined = 65535, 65535, 0xffffffff
		}, ""},
		{"HASH o -k KEY --in-hash --date 99999999", func(s *sgx.SigStruct) { s.Date = 0x99999999 }, ""},
		{"HASH o -k KEY --in-hash --date=00000000", func(s *sgx.SigStruct) { s.Date = 0 }, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("HASH", someHash, "KEY", key).Replace(c.args))
			got := runSign(args...)
			out := c.out + "ENCLAVEHASH: " + strings.ToLower(someHash) + " (OK)\n"
			if got.code != 0 || got.out != out || got.errout != "" {
				t.Fatalf("%+v, want stdout %q", got, out)
			}
			s := readSig(t, "o")
			mr, err := sgx.ParseMeasurement(someHash)
			if err != nil {
				t.Fatal(err)
			}
			want := sign.New(mr)
			want.Date = today
			c.want(want)
			want.Modulus, want.Exponent, want.Signature, want.Q1, want.Q2 = s.Modulus, s.Exponent, s.Signature, s.Q1, s.Q2
			if *s != *want && sign.DateOf(time.Now()) == today {
				t.Errorf("fields\n%+v\nwant\n%+v", sign.Describe(s), sign.Describe(want))
			}
		})
	}
}

// TestSignRefused holds errors: the exit code, a part of the message, and that
// no file is made.
func TestSignRefused(t *testing.T) {
	key, badKey := signKeyPath(t, "key1.pem"), signKeyPath(t, "key_e65537.pem")
	sgxsFile, err := filepath.Abs(filepath.Join(vectors, "sign/e.sgxs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 1, "error: The following required arguments were not provided:\n    <input>\n    <output>\n    --key <FILE>\n\nUSAGE:\n    sgxs-sign [FLAGS] [OPTIONS] <input> <output> --key <FILE>\n\nFor more information try --help\n"},
		{"i", 1, "\n    <output>\n    --key <FILE>\n"},
		{"i o p -k KEY", 1, "error: Found argument 'p' which wasn't expected, or isn't valid in this context\n"},
		{"i o -k KEY --foo", 1, "Found argument '--foo'"},
		{"i o -k KEY -z", 1, "Found argument '-z'"},
		{"i o -k", 1, "error: The argument '--key <FILE>' requires a value but none was supplied\n"},
		{"i o -k -d", 1, "The argument '--key <FILE>' requires a value"},
		{"i o -k KEY -k KEY", 1, "The argument '--key <FILE>' was provided more than once, but cannot be used multiple times\n"},
		{"i o -k KEY -d -d", 1, "The argument '--debug' was provided more than once"},
		{"i o -k KEY --date 2025010", 1, "error: Invalid value for '--date <YYYYMMDD>': date must be specified as YYYYMMDD\n"},
		{"i o -k KEY --date 0x250101", 1, "date must be specified"},
		{"i o -k KEY -p x", 1, "Invalid value for '--isvprodid <isvprodid>': the value must be numeric"},
		{"i o -k KEY -p 0X10", 1, "the value must be numeric"},
		{"i o -k KEY -p=", 1, "the value must be numeric"},
		{"i o -k KEY -x 1/2/3", 1, "Invalid value for '--xfrm <xfrm/xfrmmask>': the value must be a number or number/number"},
		{"i o -k KEY -x 1/", 1, "the value must be a number or number/number"},
		{"HASH o --in-hash -k KEY -p 65536", 101, "called `Result::unwrap()` on an `Err` value: ParseIntError { kind: PosOverflow }\n"},
		{"HASH o --in-hash -k KEY -s 0x100000000", 101, "PosOverflow"},
		{"HASH o --in-hash -k KEY -x 0x10000000000000000", 101, "PosOverflow"},
		{"HASH o --in-hash -k KEY -m 1/0x100000000", 101, "PosOverflow"},
		{"HASH o --in-hash -k KEY --isvextprodid 1", 1, "isvextprodid"}, // not in 0.9.4
		{"abcd o --in-hash -k KEY", 101, "called `Result::unwrap()` on an `Err` value: \"the hash must be 64 hexadecimal characters\"\n"},
		{"missing o -k KEY", 101, "Unable to open input SGXS file: Os { code: 2, kind: NotFound, message: \"No such file or directory\" }\n"},
		{"missing o -k nokey", 101, "Unable to open input key file: Os { code: 2, kind: NotFound, message: \"No such file or directory\" }\n"},
		{"text o -k KEY", 101, "Unable to read input SGXS file: "},
		{"cut o -k KEY", 101, "Unable to read input SGXS file: failed to fill whole buffer\n"},
		{"tag o -k KEY", 101, "Unable to read input SGXS file: An invalid measurement tag 6767676767676767 was encountered.\n"},
		{"unsized o -k KEY", 101, "Unable to read input SGXS file: An unsized stream was encountered but a sized stream was expected.\n"},
		{". o -k KEY", 101, "Unable to read input SGXS file: Is a directory (os error 21)"},
		{"HASH o --in-hash -k .", 101, "Unable to read input key file: Os { code: 21, kind: IsADirectory, message: \"Is a directory\" }\n"},
		{"HASH o --in-hash -k KEY -V .", 101, "Unable to read input verify key file: Os { code: 21,"},
		{"HASH o --in-hash -k text", 101, "no PEM key"},
		{"HASH o --in-hash -k ec.pem", 101, "not an RSA key"},
		{"HASH o --in-hash -k BAD", 101, "\nKey public exponent is not 3\n"},
		{"HASH no/dir/o --in-hash -k KEY", 101, "Unable to open output file: Os { code: 2,"},
		{"HASH . --in-hash -k KEY", 101, "Unable to open output file: Os { code: 21, kind: IsADirectory,"},
		{"text text -k KEY", 1, "error: output text is also an input"},
		{"text ./text -k KEY", 1, "is also an input"},
		{"HASH key.pem --in-hash -k key.pem", 1, "error: output key.pem is also an input"},
		{"HASH o --in-hash -k KEY -V text", 101, "Unable to read input verify key file: "},
		{"HASH o --in-hash -k KEY -V KEY", 101, "Unable to read input verify key file: "},
		{"HASH o --in-hash -k KEY -V nokey", 101, "Unable to open input verify key file: Os"},
		{"HASH o --in-hash -k KEY -V pub.pem", 101, "called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound"},
		{"HASH text --in-hash -k KEY -V pub.pem", 101, "failed to fill whole buffer"},
		{"SGXS other.sig -k KEY -V pub.pem", 101, "\nENCLAVEHASH mismatch\n"},
		{"HASH broken.sig --in-hash -k KEY -V pub.pem", 101, "Input signature verification failed"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write := func(name string, b []byte) {
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			keyPEM, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			write("text", []byte("this is text"))
			write("cut", append([]byte("ECREATE"), make([]byte, 56)...))
			write("tag", bytes.Repeat([]byte("g"), 64))
			write("unsized", append([]byte("UNSIZED"), make([]byte, 57)...))
			write("key.pem", keyPEM)
			write("ec.pem", []byte(ecKey))
			write("pub.pem", []byte(publicKey(t, key)))
			if r := runSign("--in-hash", "-k", key, someHash, "other.sig"); r.code != 0 {
				t.Fatal(r)
			}
			sig, err := os.ReadFile("other.sig")
			if err != nil {
				t.Fatal(err)
			}
			sig[16] ^= 1
			write("broken.sig", sig)
			before := snapshot(t)
			args := strings.Fields(strings.NewReplacer("HASH", someHash, "KEY", key, "BAD", badKey, "SGXS", sgxsFile).Replace(c.args))
			got := runSign(args...)
			if got.code != c.code || !strings.Contains(got.errout, c.want) {
				t.Errorf("%+v\nwant %d %q", got, c.code, c.want)
			}
			if strings.HasPrefix(c.want, "error:") && strings.HasSuffix(c.want, "--help\n") && got.errout != c.want {
				t.Errorf("stderr %q, want %q", got.errout, c.want)
			}
			if c.code == 101 && panicMessage.FindString(got.errout) == "" {
				t.Errorf("not in the form of a panic: %q", got.errout)
			}
			if after := snapshot(t); after != before {
				t.Errorf("files changed: %s\nbefore: %s", after, before)
			}
		})
	}
}

func snapshot(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(".*")
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, f := range append(files, hidden...) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		h := sha256.Sum256(b)
		s.WriteString(f + " " + hex.EncodeToString(h[:4]) + "\n")
	}
	return s.String()
}

// TestSignResign replaces a SIGSTRUCT, and a longer file that begins with one.
func TestSignResign(t *testing.T) {
	key := signKeyPath(t, "key1.pem")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("pub.pem", []byte(publicKey(t, key)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runSign("--in-hash", "-k", key, "--date", "20200101", someHash, "o"); r.code != 0 {
		t.Fatal(r)
	}
	f, err := os.OpenFile("o", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if r := runSign("--in-hash", "-k", key, "--date", "20210101", "-V", "pub.pem", someHash, "o"); r.code != 0 {
		t.Fatal(r)
	}
	if s := readSig(t, "o"); s.Date != 0x20210101 {
		t.Errorf("date %#x", s.Date)
	}
}

// TestSignLenient keeps what the original does with a stream without records.
func TestSignLenient(t *testing.T) {
	key := signKeyPath(t, "key1.pem")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("empty", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runSign("-k", key, "empty", "o"); r.code != 0 || !strings.Contains(r.out, "e3b0c44298fc1c149afbf4c8996fb924") {
		t.Errorf("%+v", r)
	}
}

func TestSignHelp(t *testing.T) {
	for _, a := range []string{"--help", "-h", "-dh"} {
		r := runSign("i", a, "--nonsense")
		if r.code != 0 || r.errout != "" || !strings.HasPrefix(r.out, "sgxs-sign \n") || !strings.Contains(r.out, "\n    -V, --resign-verify <FILE>") {
			t.Errorf("%s: %+v", a, r)
		}
	}
	if r := runSign("--version"); r.code != 0 || r.out != "sgxs-sign \n" {
		t.Errorf("%+v", r)
	}
}

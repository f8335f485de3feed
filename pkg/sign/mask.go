package sign

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
)

// ParseNumber reads a number as sgxs-sign takes it: decimal digits, or 0x and
// hex digits of any case, of at most the given bits (8 to 64).
func ParseNumber(s string, bits int) (uint64, error) {
	if !IsNumber(s) {
		return 0, fmt.Errorf("%q: want a number, decimal or 0x and hex digits", s)
	}
	base, digits := 10, s
	if h, ok := strings.CutPrefix(s, "0x"); ok {
		base, digits = 16, h
	}
	n, err := strconv.ParseUint(digits, base, bits)
	if err != nil {
		return 0, fmt.Errorf("%q: want a number of at most %d bits", s, bits)
	}
	return n, nil
}

// IsNumber reports whether s has the form of a number; see ParseNumber.
func IsNumber(s string) bool {
	digits, hex := strings.CutPrefix(s, "0x")
	for _, c := range []byte(digits) {
		switch {
		case '0' <= c && c <= '9':
		case hex && ('a' <= c|0x20 && c|0x20 <= 'f'):
		default:
			return false
		}
	}
	return digits != ""
}

// parseBig is ParseNumber for more than 64 bits.
func parseBig(s string, bits int) (*big.Int, error) {
	if !IsNumber(s) || len(s) > 2+bits {
		return nil, fmt.Errorf("%q: want a number", s)
	}
	digits, hex := strings.CutPrefix(s, "0x")
	base := 10
	if hex {
		base = 16
	}
	n, _ := new(big.Int).SetString(digits, base)
	if n.BitLen() > bits {
		return nil, fmt.Errorf("%q: want a number of at most %d bits", s, bits)
	}
	return n, nil
}

// A name is a word for bits in a list of words.
type name struct {
	word string
	bits uint64
}

var flagWords = []name{
	{"init", uint64(sgx.AttrInit)}, {"debug", uint64(sgx.AttrDebug)}, {"mode64bit", uint64(sgx.AttrMode64Bit)},
	{"provisionkey", uint64(sgx.AttrProvisionKey)}, {"einittokenkey", uint64(sgx.AttrEInitTokenKey)},
	{"cet", uint64(sgx.AttrCET)}, {"kss", uint64(sgx.AttrKSS)}, {"aexnotify", uint64(sgx.AttrAEXNotify)},
}

// "avx512" and "amx" mean what a person means: with all the state they need.
var xfrmWords = []name{
	{"legacy", uint64(sgx.XFRMLegacy)}, {"x87", uint64(sgx.XFRMX87)}, {"sse", uint64(sgx.XFRMSSE)},
	{"avx", uint64(sgx.XFRMAVX)}, {"avx512", uint64(sgx.XFRMAVX | sgx.XFRMAVX512)},
	{"mpx", uint64(sgx.XFRMBndRegs | sgx.XFRMBndCSR)}, {"bndregs", uint64(sgx.XFRMBndRegs)}, {"bndcsr", uint64(sgx.XFRMBndCSR)},
	{"opmask", uint64(sgx.XFRMOpmask)}, {"zmm_hi256", uint64(sgx.XFRMZMMHi256)}, {"hi16_zmm", uint64(sgx.XFRMHi16ZMM)},
	{"pkru", uint64(sgx.XFRMPKRU)},
	{"amx", uint64(sgx.XFRMAMX)}, {"tilecfg", uint64(sgx.XFRMTileCfg)}, {"tiledata", uint64(sgx.XFRMTileData)},
}

var miscWords = []name{{"exinfo", uint64(sgx.MiscEXINFO)}, {"cpinfo", uint64(sgx.MiscCPINFO)}}

var cetWords = []name{
	{"sh_stk_en", 1 << 0}, {"wr_shstk_en", 1 << 1}, {"endbr_en", 1 << 2}, {"leg_iw_en", 1 << 3}, {"no_track_en", 1 << 4},
	{"suppress_dis", 1 << 5},
}

// parseBits reads a number, a word, or a list of both joined by "," or "|";
// "none" is 0. Case does not count in words.
func parseBits(s string, bits int, words []name) (uint64, error) {
	if IsNumber(s) {
		return ParseNumber(s, bits)
	}
	var sum uint64
	for w := range strings.SplitSeq(strings.ReplaceAll(s, "|", ","), ",") {
		b, err := parseWord(strings.TrimSpace(w), bits, words)
		if err != nil {
			return 0, err
		}
		sum |= b
	}
	return sum, nil
}

func parseWord(w string, bits int, words []name) (uint64, error) {
	if IsNumber(w) {
		return ParseNumber(w, bits)
	}
	if strings.EqualFold(w, "none") {
		return 0, nil
	}
	var known []string
	for _, n := range words {
		if strings.EqualFold(w, n.word) {
			return n.bits, nil
		}
		known = append(known, n.word)
	}
	return 0, fmt.Errorf("%q: want a number or of %s", w, strings.Join(known, ", "))
}

// parsePair reads VALUE or VALUE/MAY. MAY is the inverse of a mask: its bits
// may differ between SIGSTRUCT and enclave. Without it, it is VALUE.
func parsePair(s string, bits int, words []name) (value, mask uint64, err error) {
	v, m, two := strings.Cut(s, "/")
	if value, err = parseBits(v, bits, words); err != nil {
		return 0, 0, err
	}
	may := value
	if two {
		if may, err = parseBits(m, bits, words); err != nil {
			return 0, 0, err
		}
	}
	return value, ^may, nil
}

// ParseFlags reads the low half of ATTRIBUTES and its mask: N or N/M as
// sgxs-sign takes them, M being the inverse of the mask, where N and M are
// numbers or words: "0x4/0x2" is "mode64bit/debug".
func ParseFlags(s string) (flags, mask sgx.AttrFlags, err error) {
	v, m, err := parsePair(s, 64, flagWords)
	if err != nil {
		return 0, 0, fmt.Errorf("attributes: %w", err)
	}
	return sgx.AttrFlags(v), sgx.AttrFlags(m), nil
}

// ParseXFRM reads XFRM and its mask as ParseFlags does: "0x7/0xe4", or
// "legacy,avx/avx512".
func ParseXFRM(s string) (xfrm, mask sgx.XFRM, err error) {
	v, m, err := parsePair(s, 64, xfrmWords)
	if err != nil {
		return 0, 0, fmt.Errorf("xfrm: %w", err)
	}
	return sgx.XFRM(v), sgx.XFRM(m), nil
}

// ParseFeatures reads a list of XFRM features: "avx" or "avx512,pkru".
func ParseFeatures(s string) (sgx.XFRM, error) {
	v, err := parseBits(s, 64, xfrmWords)
	if err != nil {
		return 0, fmt.Errorf("xfrm: %w", err)
	}
	return sgx.XFRM(v), nil
}

// ParseMiscSelect reads MISCSELECT and MISCMASK as ParseFlags does.
func ParseMiscSelect(s string) (misc sgx.MiscSelect, mask uint32, err error) {
	v, m, err := parsePair(s, 32, miscWords)
	if err != nil {
		return 0, 0, fmt.Errorf("miscselect: %w", err)
	}
	return sgx.MiscSelect(v), uint32(m), nil
}

// ParseCET reads CET_ATTRIBUTES and its mask as ParseFlags does.
func ParseCET(s string) (attributes, mask uint8, err error) {
	v, m, err := parsePair(s, 8, cetWords)
	if err != nil {
		return 0, 0, fmt.Errorf("cet: %w", err)
	}
	return uint8(v), uint8(m), nil
}

// formatCET returns the names of CET_ATTRIBUTES joined by "|".
func formatCET(v uint8) string {
	var s []string
	for _, n := range cetWords {
		if uint64(v)&n.bits != 0 {
			s = append(s, strings.ToUpper(n.word))
			v &^= uint8(n.bits)
		}
	}
	if v != 0 || s == nil {
		s = append(s, fmt.Sprintf("%#x", v))
	}
	return strings.Join(s, "|")
}

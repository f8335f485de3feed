package fromgo

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/enclaveos/eos/pkg/sgxs/x86len"
)

// Assembly is rewritten so that it traps to the kernel inside the image by
// plain jumps:
//
//	SYSCALL   LEAQ 5(IP), CX; JMP eosSyscall(SB)
//	CPUID     CALL eosCPUID(SB)
//	RDTSC     CALL eosRDTSC(SB)
//	RDTSCP    CALL eosRDTSCP(SB)
//
// SYSCALL is no CALL because exitThread issues it without a stack. It clobbers
// CX anyway, with the address of the instruction that follows, so this is the
// same: the LEAQ, which the assembler has no words for, has 7 bytes and the JMP
// 5. The other three occur only where there is a stack.
var traps = []struct {
	mnemonic string
	code     []byte // as machine code
	text     string
	instrs   int // number of instructions of text
}{
	{"SYSCALL", []byte{0x0f, 0x05}, "LONG $0x050d8d48; WORD $0; BYTE $0; JMP eosSyscall(SB)", 4},
	{"CPUID", []byte{0x0f, 0xa2}, "CALL eosCPUID(SB)", 1},
	{"RDTSC", []byte{0x0f, 0x31}, "CALL eosRDTSC(SB)", 1},
	{"RDTSCP", []byte{0x0f, 0x01, 0xf9}, "CALL eosRDTSCP(SB)", 1},
}

// AsmError is assembly that cannot be rewritten.
type AsmError struct {
	File string
	Line int
	What string
}

func (e *AsmError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.What) }

// statement is one instruction or directive of a file.
type statement struct {
	start, end int // in the text, without labels, blanks and comments
	line       int
	word       string // mnemonic
	args       string
	labels     bool   // labels stand before it
	macro      bool   // in the body of a #define
	barrier    bool   // not an instruction but a line of the preprocessor
	defines    string // name of the macro that is defined here
	trap       int    // index in traps, -1
	merged     bool   // belongs to the trap of an earlier statement
	delta      int    // instructions that the rewriting adds
}

// rewriteAsm rewrites a file of Go assembly. It returns how many instructions
// it replaced, by mnemonic.
func rewriteAsm(name string, src []byte) (out []byte, count map[string]int, err error) {
	stmts := splitAsm(string(src))
	count = map[string]int{}
	for i := range stmts {
		s := &stmts[i]
		s.trap = slices.IndexFunc(traps, func(t struct {
			mnemonic string
			code     []byte
			text     string
			instrs   int
		}) bool {
			return t.mnemonic == s.word
		})
		if s.trap < 0 {
			continue
		}
		if s.args != "" {
			return nil, nil, &AsmError{name, s.line, fmt.Sprintf("%s with operands: %q", s.word, s.args)}
		}
		s.delta = traps[s.trap].instrs - 1
		count[s.word]++
	}
	findEncoded(stmts, count)
	macros := map[string]bool{}
	for i := range stmts {
		macros[stmts[i].defines] = true
	}

	var edits []edit
	for i := range stmts {
		s := &stmts[i]
		switch {
		case s.trap >= 0:
			edits = append(edits, edit{s.start, s.end, traps[s.trap].text})
		case s.merged:
			edits = append(edits, edit{s.start, s.end, ""})
		default:
			e, err := fixJump(name, stmts, i, macros)
			if err != nil {
				return nil, nil, err
			}
			edits = append(edits, e...)
		}
	}
	return applyEdits(src, edits), count, nil
}

type edit struct {
	start, end int
	text       string
}

func applyEdits(src []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return src
	}
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, src[at:e.start]...), e.text...)
		at = e.end
	}
	return append(out, src[at:]...)
}

// splitAsm finds the statements of a file: they end at line ends and at
// semicolons, outside of comments and quotes.
func splitAsm(src string) []statement {
	var out []statement
	line, start := 1, 0
	macro := false // in the body of a #define
	blank := []byte(src)
	emit := func(end int) {
		text := string(blank[start:end])
		s := statement{line: line, macro: macro, trap: -1}
		trimmed := strings.TrimSpace(text)
		if strings.HasPrefix(trimmed, "#") {
			s.barrier = true
			if rest, ok := strings.CutPrefix(strings.TrimSpace(trimmed[1:]), "define"); ok {
				// The body follows the name and its parameters.
				n := macroHead(rest)
				s.defines, _, _ = strings.Cut(strings.TrimSpace(rest[:n]), "(")
				s.macro, macro = true, true
				out = append(out, s)
				start += strings.Index(text, rest) + n
				text = string(blank[start:end])
				s = statement{line: line, macro: true, trap: -1}
			} else {
				out = append(out, s)
				return
			}
		}
		lead := len(text) - len(strings.TrimLeft(text, " \t\r\\"))
		text = strings.TrimRight(text, " \t\r\\")
		if lead > len(text) {
			return
		}
		for {
			m := label.FindString(text[lead:])
			if m == "" {
				break
			}
			lead, s.labels = lead+len(m), true
		}
		if lead == len(text) {
			if s.labels {
				s.start, s.end = start+lead, start+lead
				out = append(out, s)
			}
			return
		}
		s.start, s.end = start+lead, start+len(text)
		s.word, s.args, _ = strings.Cut(strings.Join(strings.Fields(text[lead:]), " "), " ")
		out = append(out, s)
	}
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '\n':
			emit(i)
			if i == 0 || strings.TrimRight(src[:i], "\r") == "" || !strings.HasSuffix(strings.TrimRight(src[max(0, i-2):i], "\r"), "\\") {
				macro = false
			}
			line, start = line+1, i+1
		case c == ';':
			emit(i)
			start = i + 1
		case c == '"' || c == '\'':
			for i++; i < len(src) && src[i] != c && src[i] != '\n'; i++ {
				if src[i] == '\\' {
					i++
				}
			}
			if i < len(src) && src[i] == '\n' {
				i--
			}
		case strings.HasPrefix(src[i:], "//"):
			for ; i < len(src) && src[i] != '\n'; i++ {
				blank[i] = ' '
			}
			i--
		case strings.HasPrefix(src[i:], "/*"):
			n := strings.Index(src[i+2:], "*/")
			end := len(src)
			if n >= 0 {
				end = i + 2 + n + 2
			}
			for ; i < end; i++ {
				if src[i] == '\n' {
					emit(i)
					line, start = line+1, i+1
				} else {
					blank[i] = ' '
				}
			}
			i--
		}
	}
	emit(len(src))
	return out
}

var label = regexp.MustCompile(`^[\pL_·][\pL\pN_·]*[ \t]*:[ \t]*`)

// macroHead returns the length of a macro's name and parameters in what follows
// "#define".
func macroHead(s string) int {
	n := len(s) - len(strings.TrimLeft(s, " \t"))
	for n < len(s) && !strings.ContainsRune(" \t(\\", rune(s[n])) {
		n++
	}
	if n < len(s) && s[n] == '(' {
		if end := strings.IndexByte(s[n:], ')'); end >= 0 {
			n += end + 1
		}
	}
	return n
}

// width is the number of bytes that a data directive in code emits.
var width = map[string]int{"BYTE": 1, "WORD": 2, "LONG": 4, "QUAD": 8}

// findEncoded finds instructions to be replaced that are written as bytes, in
// runs of BYTE and its like. It replaces those whose first and last byte are
// those of statements; what else there may be is found in the finished program.
func findEncoded(stmts []statement, count map[string]int) {
	for i := 0; i < len(stmts); i++ {
		var code []byte
		var owner []int // statement of each byte
		j := i
		for ; j < len(stmts); j++ {
			n, ok := width[stmts[j].word]
			if !ok || j > i && (stmts[j].labels || stmts[j].macro != stmts[i].macro) {
				break
			}
			v, err := strconv.ParseUint(strings.TrimPrefix(stmts[j].args, "$"), 0, 64)
			if err != nil {
				break
			}
			for k := range n {
				code, owner = append(code, byte(v>>(8*k))), append(owner, j)
			}
		}
		for at := 0; at < len(code); {
			inst, ok := x86len.Decode(code[at:])
			if !ok {
				break
			}
			replaceEncoded(stmts, owner, code, at, at+inst.Len, count)
			at += inst.Len
		}
		if j > i {
			i = j - 1
		}
	}
}

// replaceEncoded marks the statements of the instruction code[from:to] if it is
// one to be replaced.
func replaceEncoded(stmts []statement, owner []int, code []byte, from, to int, count map[string]int) {
	for t := range traps {
		if string(traps[t].code) != string(code[from:to]) {
			continue
		}
		if from > 0 && owner[from-1] == owner[from] || to < len(owner) && owner[to] == owner[to-1] {
			return
		}
		first, last := owner[from], owner[to-1]
		stmts[first].trap = t
		stmts[first].delta = traps[t].instrs - 1
		for k := first + 1; k <= last; k++ {
			stmts[k].merged, stmts[k].delta = true, -1
		}
		count[traps[t].mnemonic]++
	}
}

var relative = regexp.MustCompile(`^(-?\d+)\(PC\)$`)

// fixJump corrects a jump that counts instructions, such as JLS 2(PC), if
// statement i is one and the number of those that it passes has changed.
func fixJump(name string, stmts []statement, i int, macros map[string]bool) ([]edit, error) {
	s := &stmts[i]
	m := relative.FindStringSubmatch(s.args)
	if m == nil || s.word == "" || s.barrier {
		return nil, nil
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return nil, &AsmError{name, s.line, "jump out of range: " + s.args}
	}
	step, left := 1, n
	if n < 0 {
		step, left = -1, -n
	}
	// A jump by n goes to the n-th instruction from here. Going down, those
	// between are passed; going up, the target as well.
	delta, doubt := 0, ""
	k := i
	for left > 0 {
		if step > 0 && k != i {
			delta += stmts[k].delta
		}
		for k += step; k >= 0 && k < len(stmts); k += step {
			if q := &stmts[k]; doubt == "" && (q.barrier || q.macro != s.macro || q.word != "" && !known(q.word, macros)) {
				doubt = fmt.Sprintf("line %d", q.line)
			}
			if counted(stmts[k].word) {
				break
			}
		}
		if k < 0 || k >= len(stmts) {
			break
		}
		if step < 0 {
			delta += stmts[k].delta
		}
		left--
	}
	if step > 0 && k < len(stmts) && stmts[k].merged {
		return nil, &AsmError{name, s.line, fmt.Sprintf("%s %s goes into the middle of an instruction that is written as bytes", s.word, s.args)}
	}
	if delta == 0 {
		return nil, nil
	}
	if doubt != "" {
		return nil, &AsmError{name, s.line, fmt.Sprintf("%s %s passes an instruction that is replaced, and what else it passes is not certain (%s)", s.word, s.args, doubt)}
	}
	if step > 0 {
		n += delta
	} else {
		n -= delta
	}
	at := s.end - len(s.args)
	return []edit{{at, s.end, fmt.Sprintf("%d(PC)", n)}}, nil
}

// known reports whether it is certain how many instructions a statement is.
func known(word string, macros map[string]bool) bool {
	return word == "DATA" || word == "GLOBL" || counted(word) && !macros[word]
}

// counted reports whether a statement is an instruction to the assembler: all
// upper-case words are, but for data. Names of macros are not known to be.
func counted(word string) bool {
	if word == "" || word == "DATA" || word == "GLOBL" {
		return false
	}
	for _, c := range word {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return true
}

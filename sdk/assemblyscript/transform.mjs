// A transform of asc that declares an app's functions. AssemblyScript exports
// functions of core types only, so that a comment says the types that callers see:
//
//	//eos:export hello(name:string)string
//	export function hello(name: usize, length: i32): void { … }
//
// asc hello.ts --transform PATH/transform.mjs …
//
// The declarations become the custom section "eos.functions".

const directive = /^\/\/eos:export[ \t]+(.*)$/gm;
const signature = /^([^(),:\s]+)\(([^()\s]*)\)([a-z0-9]*)$/;

function parse(text) {
	const m = signature.exec(text.trim());
	if (!m) throw new Error(`//eos:export ${text}: want name(parameter:type,…)result`);
	const params = m[2] === "" ? [] : m[2].split(",").map((p) => {
		const [name, type, more] = p.split(":");
		if (!name || !type || more !== undefined) throw new Error(`//eos:export ${text}: ${p} is not parameter:type`);
		return { name, type };
	});
	return { name: m[1], params, ...(m[3] && { result: m[3] }) };
}

export default class {
	functions = [];

	afterParse(parser) {
		for (const source of parser.sources)
			for (const m of source.text.matchAll(directive)) this.functions.push(parse(m[1]));
	}

	afterCompile(module) {
		if (this.functions.length > 0) module.addCustomSection("eos.functions", new TextEncoder().encode(JSON.stringify(this.functions)));
	}
}

# Which role may use which tool, prompt and resource. Whatever no rule allows is denied.
#
# `input` tells about the call (see docs/protocol.md), `data` holds data.json and, as `data.tools`, `data.prompts` and
# `data.resources`, the scope tables.
package portcullis

# Methods that name nothing which is granted to some and not to others; lists are cut down by `request.visible`, and each
# resource of a subscription is asked about on its own.
protocol_methods := {
	"http/listen",
	"http/terminate",
	"initialize",
	"logging/setLevel",
	"notifications/cancelled",
	"notifications/initialized",
	"notifications/progress",
	"notifications/roots/list_changed",
	"ping",
	"prompts/list",
	"resources/list",
	"resources/templates/list",
	"response/elicitation/create",
	"response/ping",
	"response/roots/list",
	"response/sampling/createMessage",
	"server/discover",
	"subscriptions/listen",
	"tasks/list",
	"tools/list",
}

# Methods about a tool, or about a task that it has started; about a prompt; about a resource.
named_methods := {
	"completion/complete",
	"prompts/get",
	"resources/read",
	"resources/subscribe",
	"resources/unsubscribe",
	"tasks/cancel",
	"tasks/get",
	"tasks/result",
	"tasks/update",
	"tools/call",
}

# One of the subject's roles grants the tool, or the prompt, or all resources that begin so.
granted if {
	some role in input.subject.roles
	input.request.tool in data.roles[role]
}

granted if {
	some role in input.subject.roles
	input.request.prompt in data.role_prompts[role]
}

granted if {
	some role in input.subject.roles
	some prefix in data.role_resources[role]
	startswith(input.request.resource_uri, prefix)
}

default request.visible := false

request.visible if granted

request.decision := {
	"allow": true,
	"rule": "protocol",
	"reason": "the method names nothing that is granted",
	"obligations": {},
} if {
	input.request.method in protocol_methods
} else := {
	"allow": true,
	"rule": "role",
	"reason": "a role of the subject grants it",
	"obligations": {},
} if {
	input.request.method in named_methods
	granted
} else := {
	"allow": false,
	"rule": "default-deny",
	"reason": "no role of the subject grants it",
	"obligations": {},
}

# Answers pass; contact data in them is masked.
response.decision := {
	"allow": true,
	"rule": "answer-masked",
	"reason": "contact data is masked",
	"obligations": {"redact": [{"at": "/contact/email", "action": "mask"}]},
} if {
	input.request.tool == "crm.account.read"
} else := {
	"allow": true,
	"rule": "answer",
	"reason": "nothing in the answer is restricted",
	"obligations": {},
}

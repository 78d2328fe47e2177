-- Any new value has the operator look at Cloudflare now.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["cloudflare-mtls.dev/reconcile-at"] = os.date("!%Y-%m-%dT%XZ")
return obj

--- gma2workers under another name: LuaRocks installs this file as `gma2_workers`, beside the folder `gma2-workers`.

return require("gma2-workers")

// The page of `rnnt serve`.
import { openPage } from "../main.js";
import { Server } from "./server.js";

openPage(new Server());

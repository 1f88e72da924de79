"""How each FastAPI gateway checks a token: by PyJWT, each time."""

import os
from pathlib import Path
from typing import Annotated, Any

import jwt
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

PUBLIC_KEY = jwt.PyJWK.from_json(Path(os.environ["PUBLIC_JWK"]).read_text()).key
bearer = HTTPBearer(auto_error=False)


async def claims(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> dict[str, Any]:
    if credentials is None:
        raise HTTPException(401, "Not authenticated")
    try:
        return jwt.decode(credentials.credentials, PUBLIC_KEY, algorithms=["ES256"], issuer="gatehouse")
    except jwt.InvalidTokenError as exc:
        raise HTTPException(401, "Invalid token") from exc


Claims = Annotated[dict[str, Any], Depends(claims)]
